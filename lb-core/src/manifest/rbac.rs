const RBAC: &str = "\
# Lets the kubelets' own identity follow the list of apiservers: then a master that joins or leaves is known to every node
# within seconds. Without it nodes ask from time to time. Written by `lbctl manifest rbac`.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: lbctl-discovery
  namespace: default
rules:
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: lbctl-discovery
  namespace: default
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: lbctl-discovery
subjects:
  - apiGroup: rbac.authorization.k8s.io
    kind: Group
    name: system:nodes
";

/// The permission to watch the cluster's own list of apiservers, for the kubelets' identity.
pub fn rbac() -> &'static str {
    RBAC
}
