/*
 * Moves the clock of the programs that it is loaded into (LD_PRELOAD): the time of day is as far from the true one as the file named by
 * CLOCK_OFFSET_FILE says, 8 bytes of nanoseconds, whenever it is asked. Clocks that only go forward are left alone, as a jump of the
 * time of day leaves them alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;
static int (*true_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  const char *name = getenv("CLOCK_OFFSET_FILE");
  int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (page != MAP_FAILED) offset = page;
}

static int now(clockid_t clock, struct timespec *time) {
  /* Other libraries' constructors may ask before ours has run. */
  if (true_clock == NULL) true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int failed = true_clock(clock, time);
  if (failed != 0 || offset == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
  int64_t moved = *offset;
  int64_t nanoseconds = time->tv_nsec + moved % 1000000000;
  time->tv_sec += moved / 1000000000 + (nanoseconds < 0 ? -1 : nanoseconds >= 1000000000 ? 1 : 0);
  time->tv_nsec = (nanoseconds + 1000000000) % 1000000000;
  return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) { return now(clock, time); }

int gettimeofday(struct timeval *restrict value, void *restrict zone) {
  (void)zone;
  struct timespec time;
  int failed = now(CLOCK_REALTIME, &time);
  if (failed == 0) *value = (struct timeval){ .tv_sec = time.tv_sec, .tv_usec = time.tv_nsec / 1000 };
  return failed;
}

time_t time(time_t *into) {
  struct timespec time;
  now(CLOCK_REALTIME, &time);
  if (into != NULL) *into = time.tv_sec;
  return time.tv_sec;
}
