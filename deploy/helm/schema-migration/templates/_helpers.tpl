{{- define "sm.name" -}}
{{- printf "%s-%s" .Release.Name "schema-proxy" | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "sm.labels" -}}
app.kubernetes.io/name: schema-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "sm.selector" -}}
app.kubernetes.io/name: schema-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sm.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "sm.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* Nothing of a container can be written but what is mounted for it. */}}
{{- define "sm.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* Where the proxy finds the map. */}}
{{- define "sm.mapFile" -}}
{{- with .Values.idMap -}}
{{- if .location }}{{ .location }}{{ else }}/etc/id-map/id-map.json{{ end -}}
{{- end -}}
{{- end -}}

{{- define "sm.mapVolume" -}}
{{- if .Values.idMap.secret }}
secret: { secretName: {{ .Values.idMap.secret }} }
{{- else }}
configMap: { name: {{ .Values.idMap.configMap | default (printf "%s-id-map" (include "sm.name" .)) }} }
{{- end }}
{{- end -}}

{{/* proxy.yaml, the same settings that the program documents. */}}
{{- define "sm.proxyYaml" -}}
{{- $p := .Values.proxy -}}
{{- $gateway := eq $p.mode "gateway" -}}
{{- $listen := dict "bootstrap" (printf "%s:%v" (ternary "0.0.0.0" "127.0.0.1" $gateway) $p.port) -}}
{{- if eq $p.mode "transparent" -}}
{{- $_ := set $listen "brokers" "transparent" -}}
{{- else if and $gateway (eq $p.gateway.brokers "sni") -}}
{{- $_ := set $listen "brokers" "sni" -}}
{{- $_ := set $listen "advertised_host" (required "proxy.gateway.advertisedHost is needed for sni" $p.gateway.advertisedHost) -}}
{{- $_ := set $listen "advertised_port" (int $p.port) -}}
{{- else if $gateway -}}
{{- $_ := set $listen "advertised_host" ($p.gateway.advertisedHost | default (printf "%s.%s.svc" (include "sm.name" .) .Release.Namespace)) -}}
{{- $_ := set $listen "broker_port_base" (int $p.gateway.brokerPortBase) -}}
{{- else -}}
{{- $_ := set $listen "advertised_host" "localhost" -}}
{{- $_ := set $listen "broker_port_base" (int (add $p.port 1)) -}}
{{- end -}}
{{- if and $gateway $p.gateway.tlsSecret -}}
{{- $tls := dict "certificate" "/etc/tls/tls.crt" "key" "/etc/tls/tls.key" -}}
{{- if $p.gateway.clientCa }}{{ $_ := set $tls "client_ca" "/etc/tls/ca.crt" }}{{ end -}}
{{- $_ := set $listen "tls" $tls -}}
{{- end -}}
{{- if not $p.target.bootstrapServers }}{{ fail "proxy.target.bootstrapServers is needed" }}{{ end -}}
{{- $target := dict "bootstrap_servers" $p.target.bootstrapServers -}}
{{- with $p.target.security }}{{ $_ := set $target "security" . }}{{ end -}}
{{- $map := dict "file" (include "sm.mapFile" .) "context" .Values.idMap.context "reload_every" .Values.idMap.reloadEvery -}}
{{- $admin := dict "listen" (printf "0.0.0.0:%v" $p.adminPort) "token" "${ADMIN_TOKEN}" -}}
{{- $all := dict "listen" $listen "target" $target "id_map" $map "admin" $admin -}}
{{- with $p.rewrite }}{{ $_ := set $all "rewrite" . }}{{ end -}}
{{- with $p.registries }}{{ $_ := set $all "registries" . }}{{ end -}}
{{- with $p.limits }}{{ $_ := set $all "limits" . }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* The proxy's container, in each of the three modes. */}}
{{- define "sm.proxyContainer" -}}
{{- $p := .Values.proxy -}}
name: schema-proxy
image: {{ include "sm.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [schema-proxy]
args: [--config, /etc/schema-proxy/proxy.yaml, --log-format, {{ $p.logFormat }}]
env:
  - name: ADMIN_TOKEN
    valueFrom:
      secretKeyRef:
        name: {{ required "proxy.adminTokenSecret is needed: the admin port is reached from outside the pod" $p.adminTokenSecret }}
        key: token
{{- with $p.env }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $p.envFrom }}
envFrom:
{{ toYaml . | indent 2 }}
{{- end }}
ports:
  - { name: kafka, containerPort: {{ $p.port }} }
  - { name: admin, containerPort: {{ $p.adminPort }} }
{{- if and (eq $p.mode "gateway") (eq $p.gateway.brokers "ports") }}
{{- range $p.gateway.nodeIds }}
  - { name: broker-{{ . }}, containerPort: {{ add $p.gateway.brokerPortBase . }} }
{{- end }}
{{- end }}
startupProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 10
resources: {{ toYaml $p.resources | nindent 2 }}
securityContext:
  {{- include "sm.securityContext" . | nindent 2 }}
  {{- if eq $p.mode "transparent" }}
  runAsUser: {{ $p.transparent.user }}
  {{- end }}
volumeMounts:
  - { name: proxy-config, mountPath: /etc/schema-proxy, readOnly: true }
{{- if not .Values.idMap.location }}
  - { name: id-map, mountPath: /etc/id-map, readOnly: true }
{{- end }}
{{- if and (eq $p.mode "gateway") $p.gateway.tlsSecret }}
  - { name: tls, mountPath: /etc/tls, readOnly: true }
{{- end }}
{{- end -}}

{{- define "sm.proxyVolumes" -}}
- name: proxy-config
  configMap: { name: {{ include "sm.name" . }} }
{{- if not .Values.idMap.location }}
- name: id-map
  {{- include "sm.mapVolume" . | nindent 2 }}
{{- end }}
{{- if and (eq .Values.proxy.mode "gateway") .Values.proxy.gateway.tlsSecret }}
- name: tls
  secret: { secretName: {{ .Values.proxy.gateway.tlsSecret }} }
{{- end }}
{{- end -}}

{{/* What all pods share. */}}
{{- define "sm.podSpec" -}}
serviceAccountName: {{ include "sm.serviceAccount" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A container that runs kafka-backup with a settings file; (dict "top" $ "name" … "args" … "of" .Values.backup) */}}
{{- define "sm.jobContainer" -}}
name: {{ .name }}
image: {{ include "sm.image" .top }}
imagePullPolicy: {{ .top.Values.image.pullPolicy }}
command: [kafka-backup]
args: {{ toJson .args }}
{{- with .of.env }}
env: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .of.envFrom }}
envFrom: {{ toYaml . | nindent 2 }}
{{- end }}
resources: {{ toYaml .of.resources | nindent 2 }}
securityContext:
  {{- include "sm.securityContext" .top | nindent 2 }}
volumeMounts:
  - { name: config, mountPath: /etc/kafka-backup, readOnly: true }
  - { name: tmp, mountPath: /tmp }
{{- end -}}
