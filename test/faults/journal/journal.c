/*
 * A library for LD_PRELOAD: writes down, in order and with their data, the calls that change files below one folder, and makes
 * chosen ones fail. It promises:
 * - A record of a call that changes something is written after the call returned and before its caller hears of it; that of a
 *   sync has a second one from before the call. So what is said to be durable was asked for after it was written, and was answered.
 * - Records are in one order over all threads and processes: each is one write to a file opened with O_APPEND.
 * - Calls on anything outside the folder pass untouched.
 *
 * JOURNAL_ROOT     the folder, absolute
 * JOURNAL_FILE     where records go; outside the folder
 * JOURNAL_CONTROL  a file of `struct control` through which faults are asked for while the program runs; may be missing
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FDS_MAX 65536
#define PIECES_MAX 64
#define WHOLE_MAX 4096

/* The numbers are those of `records.ts`; in a mask of faults each is a bit. */
enum op {
  OP_OPEN = 1, OP_WRITE = 2, OP_SYNC_BEGIN = 3, OP_SYNC = 4, OP_RENAME = 5, OP_LINK = 6, OP_UNLINK = 7, OP_TRUNCATE = 8,
  OP_MKDIR = 9, OP_RMDIR = 10, OP_CLOSE = 11, OP_FOREIGN = 12,
};

struct record {
  uint32_t magic, bytes, op, pid;
  int32_t fd, error;
  int64_t result, offset;
  uint32_t flags, path_bytes, path2_bytes, data_bytes;
  uint64_t ns;
};

/* As `control.ts` writes it. */
struct control {
  uint32_t mask;            /* bits of the calls that count */
  int32_t countdown;        /* the call that brings it to 0 is the first to suffer */
  uint32_t times;           /* how many suffer from there on */
  uint32_t kind;            /* 1 error, 2 short write, 3 delay */
  uint32_t error, delay_us;
  uint32_t matched, fired;  /* counted by the library */
  char needle[64];          /* only paths that hold this text; empty: all */
};

static const char *root;
static size_t root_bytes;
static int journal = -1;
static struct control *control;
/* Path of each open descriptor below the folder, NULL for all others. */
static char *paths[FDS_MAX];

/* The C library's own `syscall`, past the one below. */
static long raw(long number, ...) {
  static long (*real)(long, ...);
  if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long), d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  return real(number, a, b, c, d, e, f);
}

static void die(const char *what) {
  dprintf(2, "journal: %s: %s\n", what, strerror(errno));
  abort();
}

__attribute__((constructor)) static void start(void) {
  const char *file = getenv("JOURNAL_FILE"), *folder = getenv("JOURNAL_ROOT"), *faults = getenv("JOURNAL_CONTROL");
  if (file == NULL || folder == NULL) return;
  int fd = raw(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) die(file);
  /* Out of the way of programs that count on low numbers. */
  journal = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
  if (journal < 0) journal = fd;
  else close(fd);
  if (faults != NULL) {
    int handle = raw(SYS_openat, AT_FDCWD, faults, O_RDWR | O_CLOEXEC, 0);
    if (handle < 0) die(faults);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    if (control == MAP_FAILED) die(faults);
    close(handle);
  }
  root_bytes = strlen(folder);
  root = folder;
}

static int below(const char *path) {
  return root != NULL && path != NULL && strncmp(path, root, root_bytes) == 0 && (path[root_bytes] == '/' || path[root_bytes] == 0);
}

static const char *path_of(int fd) {
  return fd >= 0 && fd < FDS_MAX ? __atomic_load_n(&paths[fd], __ATOMIC_ACQUIRE) : NULL;
}

/* The whole path of a name that is given in relation to an open folder. */
static const char *whole(int at, const char *path, char *space) {
  if (path == NULL) return NULL;
  const char *folder = path[0] == '/' ? NULL : path_of(at);
  if (folder == NULL) return path;
  if (snprintf(space, WHOLE_MAX, "%s/%s", folder, path) >= WHOLE_MAX) { errno = ENAMETOOLONG; die(path); }
  return space;
}

static void set_path(int fd, const char *path) {
  if (fd < 0) return;
  if (fd >= FDS_MAX) { errno = EMFILE; die("descriptor"); }
  /* The old text may be in use by another thread's call: a few bytes for each open file are not missed. */
  __atomic_store_n(&paths[fd], path == NULL ? NULL : strdup(path), __ATOMIC_RELEASE);
}

static void note(enum op op, int fd, const char *path, const char *path2, int64_t result, int error, int64_t offset, uint32_t flags, const struct iovec *data, int pieces) {
  int kept = errno;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  struct record head = {
    .magic = 0x314a4648, .op = op, .pid = getpid(), .fd = fd, .error = error, .result = result, .offset = offset, .flags = flags,
    .path_bytes = path == NULL ? 0 : strlen(path), .path2_bytes = path2 == NULL ? 0 : strlen(path2),
    .ns = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec,
  };
  struct iovec all[PIECES_MAX + 3] = { { &head, sizeof head }, { (void *)path, head.path_bytes }, { (void *)path2, head.path2_bytes } };
  int64_t left = result;
  int count = 3;
  for (int i = 0; i < pieces && left > 0; i++) {
    size_t length = (int64_t)data[i].iov_len < left ? data[i].iov_len : (size_t)left;
    if (count == PIECES_MAX + 3) { errno = EINVAL; die("too many pieces in one write"); }
    all[count++] = (struct iovec){ data[i].iov_base, length };
    head.data_bytes += length;
    left -= length;
  }
  head.bytes = sizeof head + head.path_bytes + head.path2_bytes + head.data_bytes;
  if (raw(SYS_writev, journal, all, count) != (long)head.bytes) die("a record was not written whole");
  errno = kept;
}

/* The fault that this call has to suffer: 0 none, or the kind. Delays are suffered here. */
static uint32_t fault(enum op op, const char *path) {
  if (control == NULL || (__atomic_load_n(&control->mask, __ATOMIC_ACQUIRE) & (1u << op)) == 0) return 0;
  if (control->needle[0] != 0 && strstr(path, control->needle) == NULL) return 0;
  __atomic_add_fetch(&control->matched, 1, __ATOMIC_ACQ_REL);
  int32_t left = __atomic_sub_fetch(&control->countdown, 1, __ATOMIC_ACQ_REL);
  if (left > 0 || (uint32_t)-left >= control->times) return 0;
  __atomic_add_fetch(&control->fired, 1, __ATOMIC_ACQ_REL);
  if (control->kind != 3) return control->kind;
  struct timespec time = { control->delay_us / 1000000, (control->delay_us % 1000000) * 1000L };
  nanosleep(&time, NULL);
  return 0;
}

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (real == NULL) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* A call that was made to fail does not reach the kernel. */
#define REFUSE(op, fd, path, path2, offset, flags) do { \
    int refused = control->error; \
    note(op, fd, path, path2, -1, refused, offset, flags, NULL, 0); \
    errno = refused; \
    return -1; \
  } while (0)

#define ERROR_OF(result) ((result) < 0 ? errno : 0)

static int opened(int fd, const char *path, int flags, int made) {
  if (fd >= 0) set_path(fd, path);
  /* The one thing that nobody else can tell is whether the file is new. */
  if (fd >= 0 || (flags & O_CREAT)) note(OP_OPEN, fd, path, NULL, fd, ERROR_OF(fd), made, flags, NULL, 0);
  return fd;
}

#define OPEN_BODY(at, call) \
  mode_t mode = 0; \
  char space[WHOLE_MAX]; \
  const char *asked = path; \
  if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
  path = whole(at, asked, space); \
  if (!below(path)) return call; \
  if (fault(OP_OPEN, path)) REFUSE(OP_OPEN, -1, path, NULL, 0, flags); \
  int made = (flags & O_CREAT) != 0 && raw(SYS_faccessat, AT_FDCWD, path, F_OK) != 0; \
  return opened(call, path, flags, made)

EXPORT int open(const char *path, int flags, ...) { REAL(int, open, const char *, int, ...); OPEN_BODY(AT_FDCWD, real(asked, flags, mode)); }
EXPORT int open64(const char *path, int flags, ...) { REAL(int, open64, const char *, int, ...); OPEN_BODY(AT_FDCWD, real(asked, flags, mode)); }
EXPORT int openat(int at, const char *path, int flags, ...) { REAL(int, openat, int, const char *, int, ...); OPEN_BODY(at, real(at, asked, flags, mode)); }
EXPORT int openat64(int at, const char *path, int flags, ...) { REAL(int, openat64, int, const char *, int, ...); OPEN_BODY(at, real(at, asked, flags, mode)); }

EXPORT int close(int fd) {
  REAL(int, close, int);
  const char *path = path_of(fd);
  if (path == NULL) return real(fd);
  /* Before the call: behind it the number may be another file's already. */
  set_path(fd, NULL);
  note(OP_CLOSE, fd, path, NULL, 0, 0, 0, 0, NULL, 0);
  return real(fd);
}

/* libuv closes files this way. */
EXPORT long syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long), d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_close) return close(a);
  if (number == SYS_copy_file_range && path_of(c) != NULL) note(OP_FOREIGN, c, path_of(c), "copy_file_range", 0, 0, 0, 0, NULL, 0);
  return raw(number, a, b, c, d, e, f);
}

static ssize_t wrote(int fd, const char *path, ssize_t result, int64_t at, const struct iovec *data, int pieces) {
  if (at < 0 && result >= 0) at = raw(SYS_lseek, fd, 0, SEEK_CUR) - result;
  note(OP_WRITE, fd, path, NULL, result, ERROR_OF(result), at, 0, data, pieces);
  return result;
}

/* Half of the first piece, but something: what a kernel may do at any time. */
static size_t shorter(size_t bytes) { return bytes > 1 ? bytes / 2 : bytes; }

#define WRITE_BODY(call, at) \
  const char *path = path_of(fd); \
  if (path == NULL) return call; \
  uint32_t kind = fault(OP_WRITE, path); \
  if (kind == 1) REFUSE(OP_WRITE, fd, path, NULL, at, 0); \
  if (kind == 2) bytes = shorter(bytes); \
  struct iovec piece = { (void *)data, bytes }; \
  return wrote(fd, path, call, at, &piece, 1)

EXPORT ssize_t write(int fd, const void *data, size_t bytes) { REAL(ssize_t, write, int, const void *, size_t); WRITE_BODY(real(fd, data, bytes), -1); }
EXPORT ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) { REAL(ssize_t, pwrite, int, const void *, size_t, off_t); WRITE_BODY(real(fd, data, bytes, at), at); }
EXPORT ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) { REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t); WRITE_BODY(real(fd, data, bytes, at), at); }

#define WRITEV_BODY(call, at) \
  const char *path = path_of(fd); \
  if (path == NULL) return call; \
  uint32_t kind = fault(OP_WRITE, path); \
  if (kind == 1) REFUSE(OP_WRITE, fd, path, NULL, at, 0); \
  struct iovec first = { data[0].iov_base, shorter(data[0].iov_len) }; \
  if (kind == 2) { data = &first; pieces = 1; } \
  return wrote(fd, path, call, at, data, pieces)

EXPORT ssize_t writev(int fd, const struct iovec *data, int pieces) { REAL(ssize_t, writev, int, const struct iovec *, int); WRITEV_BODY(real(fd, data, pieces), -1); }
EXPORT ssize_t pwritev(int fd, const struct iovec *data, int pieces, off_t at) { REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t); WRITEV_BODY(real(fd, data, pieces, at), at); }
EXPORT ssize_t pwritev64(int fd, const struct iovec *data, int pieces, off64_t at) { REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t); WRITEV_BODY(real(fd, data, pieces, at), at); }

#define SYNC_BODY \
  const char *path = path_of(fd); \
  if (path == NULL) return real(fd); \
  note(OP_SYNC_BEGIN, fd, path, NULL, 0, 0, 0, 0, NULL, 0); \
  if (fault(OP_SYNC, path)) REFUSE(OP_SYNC, fd, path, NULL, 0, 0); \
  int result = real(fd); \
  note(OP_SYNC, fd, path, NULL, result, ERROR_OF(result), 0, 0, NULL, 0); \
  return result

EXPORT int fsync(int fd) { REAL(int, fsync, int); SYNC_BODY; }
EXPORT int fdatasync(int fd) { REAL(int, fdatasync, int); SYNC_BODY; }

/* Calls that name one or two paths. */
#define NAMES_BODY(op, at, first, at2, second, flags, call) \
  char space[WHOLE_MAX], space2[WHOLE_MAX]; \
  const char *one = whole(at, first, space), *two = whole(at2, second, space2); \
  if (!below(one) && !below(two)) return call; \
  if (fault(op, below(one) ? one : two)) REFUSE(op, -1, one, two, 0, flags); \
  int result = call; \
  note(op, -1, one, two, result, ERROR_OF(result), 0, flags, NULL, 0); \
  return result

EXPORT int rename(const char *from, const char *to) { REAL(int, rename, const char *, const char *); NAMES_BODY(OP_RENAME, AT_FDCWD, from, AT_FDCWD, to, 0, real(from, to)); }
EXPORT int renameat(int a, const char *from, int b, const char *to) { REAL(int, renameat, int, const char *, int, const char *); NAMES_BODY(OP_RENAME, a, from, b, to, 0, real(a, from, b, to)); }
EXPORT int link(const char *from, const char *to) { REAL(int, link, const char *, const char *); NAMES_BODY(OP_LINK, AT_FDCWD, from, AT_FDCWD, to, 0, real(from, to)); }
EXPORT int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(int, linkat, int, const char *, int, const char *, int); NAMES_BODY(OP_LINK, a, from, b, to, flags, real(a, from, b, to, flags)); }
EXPORT int unlink(const char *path) { REAL(int, unlink, const char *); NAMES_BODY(OP_UNLINK, AT_FDCWD, path, AT_FDCWD, (const char *)NULL, 0, real(path)); }
EXPORT int unlinkat(int at, const char *path, int flags) { REAL(int, unlinkat, int, const char *, int); NAMES_BODY((flags & AT_REMOVEDIR) ? OP_RMDIR : OP_UNLINK, at, path, AT_FDCWD, (const char *)NULL, flags, real(at, path, flags)); }
EXPORT int rmdir(const char *path) { REAL(int, rmdir, const char *); NAMES_BODY(OP_RMDIR, AT_FDCWD, path, AT_FDCWD, (const char *)NULL, 0, real(path)); }
EXPORT int remove(const char *path) {
  REAL(int, remove, const char *);
  struct stat found;
  if (!below(path)) return real(path);
  return lstat(path, &found) == 0 && S_ISDIR(found.st_mode) ? rmdir(path) : unlink(path);
}
EXPORT int mkdir(const char *path, mode_t mode) { REAL(int, mkdir, const char *, mode_t); NAMES_BODY(OP_MKDIR, AT_FDCWD, path, AT_FDCWD, (const char *)NULL, 0, real(path, mode)); }

#define TRUNCATE_BODY \
  const char *path = path_of(fd); \
  if (path == NULL) return real(fd, bytes); \
  if (fault(OP_TRUNCATE, path)) REFUSE(OP_TRUNCATE, fd, path, NULL, bytes, 0); \
  int result = real(fd, bytes); \
  note(OP_TRUNCATE, fd, path, NULL, result, ERROR_OF(result), bytes, 0, NULL, 0); \
  return result

EXPORT int ftruncate(int fd, off_t bytes) { REAL(int, ftruncate, int, off_t); TRUNCATE_BODY; }
EXPORT int ftruncate64(int fd, off64_t bytes) { REAL(int, ftruncate64, int, off64_t); TRUNCATE_BODY; }

/* Ways to change a file that nothing here follows: whoever reads the journal must know of them. */
#define FOREIGN(fd, name) do { if (path_of(fd) != NULL) note(OP_FOREIGN, fd, path_of(fd), name, 0, 0, 0, 0, NULL, 0); } while (0)

EXPORT int truncate(const char *path, off_t bytes) { REAL(int, truncate, const char *, off_t); if (below(path)) note(OP_FOREIGN, -1, path, "truncate", 0, 0, bytes, 0, NULL, 0); return real(path, bytes); }
EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t bytes) { REAL(int, fallocate64, int, int, off64_t, off64_t); FOREIGN(fd, "fallocate"); return real(fd, mode, at, bytes); }
EXPORT int posix_fallocate64(int fd, off64_t at, off64_t bytes) { REAL(int, posix_fallocate64, int, off64_t, off64_t); FOREIGN(fd, "posix_fallocate"); return real(fd, at, bytes); }
EXPORT ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t bytes, unsigned flags) { REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned); FOREIGN(out, "copy_file_range"); return real(in, from, out, to, bytes, flags); }
EXPORT ssize_t sendfile64(int out, int in, off64_t *from, size_t bytes) { REAL(ssize_t, sendfile64, int, int, off64_t *, size_t); FOREIGN(out, "sendfile"); return real(out, in, from, bytes); }
EXPORT void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off64_t at) {
  REAL(void *, mmap64, void *, size_t, int, int, int, off64_t);
  if ((protection & PROT_WRITE) && (flags & MAP_SHARED)) FOREIGN(fd, "mmap");
  return real(address, bytes, protection, flags, fd, at);
}
