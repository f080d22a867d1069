{{/* The image of all programs: by digest where there is one, else by tag. */}}
{{- define "tidepool.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels of one part; called with a dict of `root` and `part`. */}}
{{- define "tidepool.labels" -}}
{{ include "tidepool.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Labels that select the pods of one part. */}}
{{- define "tidepool.selector" -}}
app.kubernetes.io/name: tidepool
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* A length of time, such as 30d, in seconds. */}}
{{- define "tidepool.seconds" -}}
{{- $units := dict "s" 1 "m" 60 "h" 3600 "d" 86400 -}}
{{- $last := sub (len .) 1 | int -}}
{{- mul (substr 0 $last . | int64) (get $units (substr $last -1 .)) -}}
{{- end -}}

{{/* Ends the rendering where values are right each by itself, and wrong together. */}}
{{- define "tidepool.validate" -}}
{{- $agent := .Values.agent -}}
{{- if eq $agent.namespace .Release.Namespace -}}
{{- fail (printf "agent.namespace: %s is the release's namespace, whose Pod Security the agent does not meet and whose Secrets are the operator's: name another" $agent.namespace) -}}
{{- end -}}
{{- range list (list $agent.registryDir $agent.stateDir) (list $agent.runtimeConfigDir $agent.stateDir) (list $agent.registryDir $agent.runtimeConfigDir) -}}
{{- if eq (clean (index . 0)) (clean (index . 1)) -}}
{{- fail (printf "agent: registryDir, runtimeConfigDir and stateDir are three folders, and %s is two of them: name different ones" (index . 0)) -}}
{{- end -}}
{{- end -}}
{{- $trust := .Values.trust -}}
{{- range list (list "trust.authorityLifetime" $trust.authorityLifetime "36500d") (list "trust.certificateLifetime" $trust.certificateLifetime "36500d") (list "operator.resync" .Values.operator.resync "24h") -}}
{{- $seconds := include "tidepool.seconds" (index . 1) | int64 -}}
{{- if or (lt $seconds 30) (gt $seconds (include "tidepool.seconds" (index . 2) | int64)) -}}
{{- fail (printf "%s: %s is not from 30s to %s: the operator would not start" (index . 0) (index . 1) (index . 2)) -}}
{{- end -}}
{{- end -}}
{{- if lt (include "tidepool.seconds" $trust.authorityLifetime | int64) (include "tidepool.seconds" $trust.certificateLifetime | int64 | mul 3) -}}
{{- fail (printf "trust.certificateLifetime: %s is more than a third of authorityLifetime, which is %s: shorten it, or have authorities live longer" $trust.certificateLifetime $trust.authorityLifetime) -}}
{{- end -}}
{{- end -}}
