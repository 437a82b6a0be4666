{{- define "asgard.name" -}}{{ .Release.Name }}-app{{- end }}
{{- define "asgard.service" -}}{{ .Release.Name }}-service{{- end }}
{{- define "asgard.config" -}}{{ .Release.Name }}-config{{- end }}
{{- define "asgard.image" -}}{{ .Values.image.repository }}:{{ .Values.image.tag }}{{- end }}

{{- define "asgard.selector" -}}
app: {{ include "asgard.name" . }}
{{- end }}

{{- define "asgard.labels" -}}
{{ include "asgard.selector" . }}
app.kubernetes.io/name: asgard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* trinoHost → TRINO_HOST */}}
{{- define "asgard.variable" -}}
{{ regexReplaceAll "([A-Z])" . "_${1}" | upper }}
{{- end }}

{{/* As a variable's text. Numbers by way of JSON: Helm would write 4194304 as 4.194304e+06. */}}
{{- define "asgard.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else if kindIs "slice" . }}{{ join "," . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end }}

{{/* The value that `env` gives to a variable, or nothing: dict "root" $ "name" NAME. */}}
{{- define "asgard.fromEnv" -}}
{{- range .root.Values.env }}{{ if eq .name $.name }}{{ include "asgard.text" (.value | default "") }}{{ end }}{{ end -}}
{{- end }}

{{- define "asgard.sparkNamespace" -}}
{{ include "asgard.fromEnv" (dict "root" . "name" "SPARK_NAMESPACE") | default .Values.config.sparkNamespace }}
{{- end }}

{{- define "asgard.sparkServiceAccount" -}}
{{ include "asgard.fromEnv" (dict "root" . "name" "SPARK_SERVICE_ACCOUNT") | default .Values.config.sparkServiceAccount | default "spark-sa" }}
{{- end }}

{{- define "asgard.sparkImage" -}}
{{- $path := splitList "/" .Values.image.repository -}}
{{ .Values.config.sparkImage | default (printf "%s:%s" (join "/" (append (initial $path) "spark-custom")) .Values.image.tag) }}
{{- end }}

{{/* Every plain setting, as YAML of variable: text. */}}
{{- define "asgard.settings" -}}
{{- $found := dict "S3_BUCKET" .Values.s3Bucket "AUTH_MODE" .Values.auth.mode "SPARK_IMAGE" (include "asgard.sparkImage" .) -}}
{{- if ne .Values.auth.mode "none" -}}
{{- $_ := set $found "AUTH_API_KEY_FILE" (printf "/etc/asgard/api-key/%s" .Values.auth.apiKey.key) -}}
{{- $_ := set $found "AUTH_KEYS_FILE" (printf "/etc/asgard/keys/%s" .Values.auth.keys.key) -}}
{{- end -}}
{{- range $key, $value := omit .Values.config "sparkImage" "trustedHosts" -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $found (include "asgard.variable" $key) (include "asgard.text" $value) -}}
{{- end -}}
{{- end -}}
{{- if has "*" .Values.config.trustedHosts -}}
{{- $_ := set $found "TRUSTED_HOSTS" "*" -}}
{{- end -}}
{{ toYaml $found }}
{{- end }}

{{/* The host names that requests may carry, when they are not any: probes and Prometheus call a
     pod by its address. */}}
{{- define "asgard.trustedHosts" -}}
{{- $service := include "asgard.service" . -}}
{{- $hosts := list "$(POD_IP)" "[$(POD_IP)]" "localhost" "127.0.0.1" $service -}}
{{- $hosts = concat $hosts (list (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace)) -}}
{{- if .Values.ingress.enabled }}{{ $hosts = concat $hosts .Values.ingress.hosts }}{{ end -}}
{{- if .Values.gateway.enabled }}{{ $hosts = concat $hosts .Values.gateway.hostnames }}{{ end -}}
{{ join "," (concat $hosts .Values.config.trustedHosts | uniq) }}
{{- end }}

{{/* The settings from Secrets, and `env`, which takes precedence over all others. */}}
{{- define "asgard.secretEnv" -}}
{{- $given := list }}{{ range .Values.env }}{{ $given = append $given .name }}{{ end -}}
{{- $secrets := dict -}}
{{- if eq .Values.awsCredentials "secret" -}}
{{- $name := include "asgard.fromEnv" (dict "root" . "name" "S3_SECRET_NAME") | default .Values.config.s3SecretName -}}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" -}}
{{- $_ := set $secrets . (dict "name" $name "key" .) -}}
{{- end -}}
{{- end -}}
{{- range $key, $ref := .Values.secretConfig -}}
{{- if $ref }}{{ $_ := set $secrets (include "asgard.variable" $key) $ref }}{{ end -}}
{{- end -}}
{{- range $name, $ref := $secrets }}
{{- if not (has $name $given) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      {{- toYaml $ref | nindent 6 }}
{{- end }}
{{- end }}
{{- range .Values.env }}
- name: {{ .name }}
  {{- if .valueFrom }}
  valueFrom:
    {{- toYaml .valueFrom | nindent 4 }}
  {{- else }}
  value: {{ include "asgard.text" .value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "asgard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "asgard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Directories that may be written: the root filesystem is read-only. */}}
{{- define "asgard.writable" -}}
{{- $dirs := list "/tmp" -}}
{{- $asked := dict "ASGARD_HOME" .Values.config.asgardHome "DBT_PROJECT_DIR" .Values.config.dbtProjectDir "DBT_PROFILES_DIR" .Values.config.dbtProfilesDir -}}
{{- range $name := list "ASGARD_HOME" "DBT_PROJECT_DIR" "DBT_PROFILES_DIR" -}}
{{- $dir := include "asgard.fromEnv" (dict "root" $ "name" $name) | default (get $asked $name) -}}
{{- if $dir }}{{ $dirs = append $dirs $dir }}{{ end -}}
{{- end -}}
{{ toJson (uniq $dirs) }}
{{- end }}

{{- define "asgard.writableMounts" -}}
{{- range $index, $dir := fromJsonArray (include "asgard.writable" .) }}
- name: writable-{{ $index }}
  mountPath: {{ $dir }}
{{- end }}
{{- end }}

{{- define "asgard.writableVolumes" -}}
{{- range $index, $dir := fromJsonArray (include "asgard.writable" .) }}
- name: writable-{{ $index }}
  emptyDir: {}
{{- end }}
{{- end }}

{{/* Whether an object exists that this release did not create: dict "root" $ "api" "kind" "name". */}}
{{- define "asgard.isForeign" -}}
{{- $found := lookup .api .kind .root.Release.Namespace .name -}}
{{- if $found -}}
{{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $found -}}
{{- if ne $owner .root.Release.Name }}yes{{ end -}}
{{- end -}}
{{- end }}

{{/* An upgrade keeps the number of replicas that another tool has set in the meantime. */}}
{{- define "asgard.replicas" -}}
{{- $name := include "asgard.name" . -}}
{{- $scaled := or .Values.autoscaling.enabled (lookup "autoscaling/v2" "HorizontalPodAutoscaler" .Release.Namespace $name) -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace $name -}}
{{- if and $scaled $live }}{{ $live.spec.replicas }}{{ else if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}{{ else }}{{ .Values.replicaCount }}{{ end -}}
{{- end }}
