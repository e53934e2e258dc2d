{{- define "holdfast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- /* 50 characters, so that the suffixes of the other objects and of a StatefulSet's pods fit into 63. */}}
{{- define "holdfast.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "holdfast.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.selectorLabels" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "holdfast.serverLabels" -}}
{{ include "holdfast.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "holdfast.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "holdfast.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "holdfast.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "holdfast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "holdfast.fullname" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "holdfast.authSecret" -}}
{{ .Values.auth.existingSecret | default (printf "%s-auth" (include "holdfast.fullname" .)) }}
{{- end }}

{{- define "holdfast.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-database" (include "holdfast.fullname" .)) }}
{{- end }}

{{- define "holdfast.hasDatabase" -}}
{{- if or .Values.database.existingSecret .Values.database.url }}true{{ end }}
{{- end }}

{{- define "holdfast.tlsSecret" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "holdfast.fullname" .)) }}
{{- end }}

{{- define "holdfast.scheme" -}}
{{ if .Values.tls.enabled }}https{{ else }}http{{ end }}
{{- end }}

{{- define "holdfast.metricsSecret" -}}
{{ .Values.metrics.existingSecret | default (printf "%s-metrics" (include "holdfast.fullname" .)) }}
{{- end }}
{{- define "holdfast.metricsSecretKey" -}}
{{ if .Values.metrics.existingSecret }}{{ .Values.metrics.existingSecretKey }}{{ else }}metrics-token{{ end }}
{{- end }}

{{- define "holdfast.hasBootstrap" -}}
{{- if or .Values.bootstrap.existingSecret .Values.bootstrap.accounts }}true{{ end }}
{{- end }}

{{- define "holdfast.bootstrapSecret" -}}
{{ .Values.bootstrap.existingSecret | default (printf "%s-bootstrap" (include "holdfast.fullname" .)) }}
{{- end }}

{{- define "holdfast.claim" -}}
{{ .Values.persistence.existingClaim | default (printf "%s-data" (include "holdfast.fullname" .)) }}
{{- end }}

{{- define "holdfast.claimSpec" -}}
accessModes: {{ .Values.persistence.accessModes | default (list (ternary "ReadWriteMany" "ReadWriteOnce" (eq .Values.mode "replicas"))) | toJson }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end }}

{{- /* A value that is there before is kept: `dict "old" DATA "key" NAME "given" TEXT "fresh" TEXT` -> base64. */}}
{{- define "holdfast.kept" -}}
{{- if .given }}{{ .given | b64enc }}{{ else if hasKey .old .key }}{{ index .old .key }}{{ else }}{{ .fresh | b64enc }}{{ end }}
{{- end }}

{{- /* What makes no sense together is refused with the reason, before anything is rendered. */}}
{{- define "holdfast.refusals" -}}
{{- $v := .Values }}
{{- if eq $v.mode "single" }}
{{- if and $v.replicas (ne (int $v.replicas) 1) }}{{ fail (printf "replicas: %d needs mode: replicas, an external PostgreSQL and a shared volume; a single server has its data for itself" (int $v.replicas)) }}{{ end }}
{{- if $v.autoscaling.enabled }}{{ fail "autoscaling.enabled needs mode: replicas; a single server has its data for itself" }}{{ end }}
{{- if $v.podDisruptionBudget.enabled }}{{ fail "podDisruptionBudget.enabled needs mode: replicas; for a single server it would only keep nodes from being drained" }}{{ end }}
{{- else }}
{{- if not (include "holdfast.hasDatabase" .) }}{{ fail "mode: replicas needs an external PostgreSQL: set database.existingSecret or database.url" }}{{ end }}
{{- if and $v.autoscaling.enabled $v.replicas }}{{ fail "replicas and autoscaling.enabled contradict each other: set one of them" }}{{ end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}{{ fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}{{ end }}
{{- end }}
{{- if and $v.database.existingSecret $v.database.url }}{{ fail "database: set existingSecret or url, not both" }}{{ end }}
{{- if and $v.bootstrap.existingSecret $v.bootstrap.accounts }}{{ fail "bootstrap: set existingSecret or accounts, not both" }}{{ end }}
{{- if and $v.auth.existingSecret (or $v.auth.rootAccessKey $v.auth.rootSecretKey) }}{{ fail "auth: set existingSecret, or rootAccessKey and rootSecretKey, not both" }}{{ end }}
{{- if ne (empty $v.auth.rootAccessKey) (empty $v.auth.rootSecretKey) }}{{ fail "auth: set rootAccessKey and rootSecretKey, or neither" }}{{ end }}
{{- if $v.tls.enabled }}
{{- if eq (empty $v.tls.existingSecret) (not $v.tls.certManager.enabled) }}{{ fail "tls.enabled needs tls.existingSecret or tls.certManager.enabled, one of them" }}{{ end }}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) }}{{ fail "tls.certManager needs issuerRef.name" }}{{ end }}
{{- else if or $v.tls.existingSecret $v.tls.certManager.enabled $v.tls.clientCaSecret }}{{ fail "tls: existingSecret, certManager and clientCaSecret need tls.enabled" }}{{ end }}
{{- if ne (empty $v.tls.clientCaSecret) (empty $v.tls.clientCertSecret) }}{{ fail "tls: set clientCaSecret and clientCertSecret, or neither; helm test and Prometheus are clients too" }}{{ end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}{{ fail "ingress.enabled needs ingress.hosts" }}{{ end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}{{ fail "httpRoute.enabled needs httpRoute.parentRefs" }}{{ end }}
{{- if and (or $v.httpRoute.canary.enabled $v.httpRoute.mirror.enabled) (not $v.httpRoute.enabled) }}{{ fail "httpRoute.canary and httpRoute.mirror need httpRoute.enabled" }}{{ end }}
{{- if and $v.httpRoute.canary.enabled (not $v.httpRoute.canary.service) }}{{ fail "httpRoute.canary needs service" }}{{ end }}
{{- if and $v.httpRoute.mirror.enabled (not $v.httpRoute.mirror.service) }}{{ fail "httpRoute.mirror needs service" }}{{ end }}
{{- if and $v.service.nodePort (eq $v.service.type "ClusterIP") }}{{ fail "service.nodePort needs service.type NodePort or LoadBalancer" }}{{ end }}
{{- if and (or $v.service.loadBalancerClass $v.service.loadBalancerSourceRanges) (ne $v.service.type "LoadBalancer") }}{{ fail "service.loadBalancerClass and service.loadBalancerSourceRanges need service.type LoadBalancer" }}{{ end }}
{{- if and $v.service.externalTrafficPolicy (eq $v.service.type "ClusterIP") }}{{ fail "service.externalTrafficPolicy needs service.type NodePort or LoadBalancer" }}{{ end }}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.enabled) (ne (toString $v.config.metricsAuth) "none") }}{{ fail "metrics.serviceMonitor needs metrics.enabled (a token), or config.metricsAuth: none" }}{{ end }}
{{- end }}
