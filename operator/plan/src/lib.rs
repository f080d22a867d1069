//! Pure steps of the operator: validate a RegistryMirror and plan its Kubernetes objects
