{{- define "rmq-operator.labels" -}}
app.kubernetes.io/name: rmq-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "rmq-operator.selector" -}}
app.kubernetes.io/name: rmq-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rmq-operator.account" -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- end }}

{{- define "rmq-operator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What the operator may do in a namespace that it looks after. */}}
{{- define "rmq-operator.rules" -}}
# Its own kinds: read them, ...
- apiGroups: [rmq.rs]
  resources: [nameservers, brokergroups, topics, subscriptiongroups, users]
  verbs: [get, list, watch]
# ... say how they are, ...
- apiGroups: [rmq.rs]
  resources: [nameservers/status, brokergroups/status, topics/status, subscriptiongroups/status, users/status]
  verbs: [patch]
# ... hold them until what they stand for is cleaned up (metadata.finalizers) ...
- apiGroups: [rmq.rs]
  resources: [brokergroups, topics, subscriptiongroups, users]
  verbs: [patch]
# ... and name them as owners of their children where the API server checks that (OwnerReferencesPermissionEnforcement).
- apiGroups: [rmq.rs]
  resources: [nameservers/finalizers, brokergroups/finalizers, users/finalizers]
  verbs: [update]
# Name servers and brokers. Delete: larger volumes need a new StatefulSet around the same pods.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# Configuration files.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
# Names of pods, and external listeners. Delete: a listener that is no longer wanted.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Secrets, each by its name: those that objects name, certificates of servers (spec.tls), and keys of clusters and users. No list and no watch: other
# Secrets are never read. A rule with names would need names that nobody knows before.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update, patch]
# One broker at a time when nodes are drained.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Which pods serve. Delete: the restart of a broker. Patch: the label that says which broker is the master. Create: the restore of a backup. No exec, no logs.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# Groups with replicas: who may become the master, and what an acknowledgement promises. Delete: what is left of a group whose volumes are gone.
- apiGroups: [rmq.rs]
  resources: [brokergroupelections]
  verbs: [get, list, watch, create, patch, delete]
# The account of the brokers of such a group ...
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
# ... has a role for two objects by name: the election and the Lease of the group.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
# Nobody can give rights that he does not have, so the operator has those of the brokers: to write who is master ...
- apiGroups: [rmq.rs]
  resources: [brokergroupelections/status]
  verbs: [patch]
# ... and to hold a Lease. The operator itself only makes the Leases of groups.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, patch]
# Volumes that grow. Create: the volume that a backup is restored into. Delete: that of a replica that is made anew from the others.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# Why a pod or a volume is not made (quota, storage class).
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# What it did and why.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# Whether the namespace itself is being deleted: then nothing is drained.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}
