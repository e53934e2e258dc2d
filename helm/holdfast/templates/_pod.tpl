{{- /* The pod of both modes. */}}
{{- define "holdfast.podTemplate" -}}
metadata:
  labels:
    {{- include "holdfast.labels" . | nindent 4 }}
    app.kubernetes.io/component: server
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A change of what is read at the start only starts the pods anew.
    checksum/config: {{ include "holdfast.configFile" . | sha256sum }}
    checksum/start: {{ toJson (list .Values.bootstrap .Values.database .Values.auth) | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "holdfast.serviceAccountName" . }}
  automountServiceAccountToken: false
  # A Service named holdfast would set HOLDFAST_PORT=tcp://..., which the configuration refuses.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "holdfast.graceSeconds" . }}
  securityContext:
    {{- include "holdfast.podSecurity" . | nindent 4 }}
  containers:
    - name: holdfast
      image: {{ include "holdfast.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      securityContext:
        {{- include "holdfast.containerSecurity" . | nindent 8 }}
      env:
        {{- include "holdfast.environment" . | nindent 8 }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - { name: s3, containerPort: 9000, protocol: TCP }
        - { name: control, containerPort: 9001, protocol: TCP }
      # The control port opens before the database does, so that a long start is no reason to start again.
      startupProbe:
        {{- include "holdfast.probe" (list . "/health/live") | nindent 8 }}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        {{- include "holdfast.probe" (list . "/health/live") | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        {{- include "holdfast.probe" (list . "/health/ready") | nindent 8 }}
        periodSeconds: 3
        timeoutSeconds: 3
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "holdfast.mounts" . | nindent 8 }}
  volumes:
    {{- include "holdfast.volumes" . | nindent 4 }}
  {{- $spread := include "holdfast.spread" . }}
  {{- with $spread }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* The "restricted" pod security standard. */}}
{{- define "holdfast.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
# Once: PostgreSQL refuses a folder that the group may write to, which a change at each start would make of its own.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "holdfast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "holdfast.probe" -}}
{{- $root := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: control
  scheme: {{ include "holdfast.scheme" $root | upper }}
{{- end }}

{{- define "holdfast.graceSeconds" -}}
{{- $config := .Values.config }}
{{- $drain := ternary $config.drainSeconds 30 (hasKey $config "drainSeconds") }}
{{- .Values.terminationGracePeriodSeconds | default (add .Values.drainDelaySeconds $drain 30) }}
{{- end }}

{{- define "holdfast.configFile" -}}
{{ toYaml (mergeOverwrite (dict "host" "0.0.0.0") (deepCopy .Values.config)) }}
{{- end }}

{{- define "holdfast.rootKeys" -}}
- name: HOLDFAST_ROOT_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ include "holdfast.authSecret" . }}, key: root-access-key } }
- name: HOLDFAST_ROOT_SECRET_KEY
  valueFrom: { secretKeyRef: { name: {{ include "holdfast.authSecret" . }}, key: root-secret-key } }
{{- end }}

{{- define "holdfast.environment" -}}
- name: HOLDFAST_CONFIG
  value: /etc/holdfast/config/holdfast.yaml
- name: HOLDFAST_DATA_DIR
  value: /data
- name: HOLDFAST_PORT
  value: "9000"
- name: HOLDFAST_CONTROL_PORT
  value: "9001"
{{ include "holdfast.rootKeys" . }}
- name: HOLDFAST_MASTER_KEY
  valueFrom: { secretKeyRef: { name: {{ include "holdfast.authSecret" . }}, key: master-key } }
{{- if include "holdfast.hasDatabase" . }}
- name: HOLDFAST_DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ include "holdfast.databaseSecret" . }}, key: {{ if .Values.database.existingSecret }}{{ .Values.database.existingSecretKey }}{{ else }}url{{ end }} } }
{{- end }}
{{- if include "holdfast.hasBootstrap" . }}
- name: HOLDFAST_BOOTSTRAP_FILE
  value: /etc/holdfast/bootstrap/bootstrap.yaml
{{- end }}
{{- if .Values.tls.enabled }}
- name: HOLDFAST_TLS_CERT_FILE
  value: /etc/holdfast/tls/tls.crt
- name: HOLDFAST_TLS_KEY_FILE
  value: /etc/holdfast/tls/tls.key
{{- if .Values.tls.clientCaSecret }}
- name: HOLDFAST_TLS_CLIENT_CA_FILE
  value: /etc/holdfast/client-ca/ca.crt
{{- end }}
{{- end }}
- name: HOLDFAST_DRAIN_DELAY_SECONDS
  value: {{ .Values.drainDelaySeconds | quote }}
{{- if eq .Values.mode "replicas" }}
- name: HOLDFAST_DATA_SHARED
  value: "on"
{{- end }}
{{- if .Values.limits }}
- name: HOLDFAST_LIMITS_FILE
  value: /etc/holdfast/limits/limits.yaml
{{- end }}
{{- if .Values.metrics.enabled }}
- name: HOLDFAST_METRICS_TOKEN_FILE
  value: /etc/holdfast/metrics/metrics-token
{{- end }}
{{- end }}

{{- /* Folders, never single files: what changes in a mounted folder is seen by the pod. */}}
{{- define "holdfast.mounts" -}}
- { name: data, mountPath: /data }
- { name: tmp, mountPath: /tmp }
- { name: config, mountPath: /etc/holdfast/config, readOnly: true }
{{- if include "holdfast.hasBootstrap" . }}
- { name: bootstrap, mountPath: /etc/holdfast/bootstrap, readOnly: true }
{{- end }}
{{- if .Values.tls.enabled }}
- { name: tls, mountPath: /etc/holdfast/tls, readOnly: true }
{{- if .Values.tls.clientCaSecret }}
- { name: client-ca, mountPath: /etc/holdfast/client-ca, readOnly: true }
{{- end }}
{{- end }}
{{- if .Values.limits }}
- { name: limits, mountPath: /etc/holdfast/limits, readOnly: true }
{{- end }}
{{- if .Values.metrics.enabled }}
- { name: metrics, mountPath: /etc/holdfast/metrics, readOnly: true }
{{- end }}
{{- end }}

{{- define "holdfast.volumes" -}}
- name: tmp
  emptyDir: {}
- name: config
  configMap: { name: {{ include "holdfast.fullname" . }}-config }
{{- if or (eq .Values.mode "replicas") .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim: { claimName: {{ include "holdfast.claim" . }} }
{{- end }}
{{- if include "holdfast.hasBootstrap" . }}
- name: bootstrap
  secret:
    secretName: {{ include "holdfast.bootstrapSecret" . }}
    defaultMode: 0440
    items: [{ key: {{ if .Values.bootstrap.existingSecret }}{{ .Values.bootstrap.existingSecretKey }}{{ else }}bootstrap.yaml{{ end }}, path: bootstrap.yaml }]
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret: { secretName: {{ include "holdfast.tlsSecret" . }}, defaultMode: 0440 }
{{- if .Values.tls.clientCaSecret }}
- name: client-ca
  secret: { secretName: {{ .Values.tls.clientCaSecret }}, defaultMode: 0440, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- end }}
{{- if .Values.limits }}
- name: limits
  configMap: { name: {{ include "holdfast.fullname" . }}-limits }
{{- end }}
{{- if .Values.metrics.enabled }}
- name: metrics
  secret:
    secretName: {{ include "holdfast.metricsSecret" . }}
    defaultMode: 0440
    items: [{ key: {{ include "holdfast.metricsSecretKey" . }}, path: metrics-token }]
{{- end }}
{{- end }}

{{- define "holdfast.spread" -}}
{{- if kindIs "slice" .Values.topologySpreadConstraints }}
{{- with .Values.topologySpreadConstraints }}{{ toYaml . }}{{ end }}
{{- else if eq .Values.mode "replicas" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "holdfast.serverLabels" . | nindent 6 }}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "holdfast.serverLabels" . | nindent 6 }}
{{- end }}
{{- end }}
