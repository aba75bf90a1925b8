"""The fields that compose.yaml and Kubernetes' objects may have, as far as the files here go into them.

Names and types are those of the Compose Specification and of Kubernetes 1.37 (docs.docker.com/reference/compose-file,
kubernetes.io/docs/reference/kubernetes-api). A whole schema would be 70 kB of the one and 22 MB of the other to install
for every run of the tests. ``!`` stands after what must be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "dict": (dict,),
    "list": (list,),
    "float": (int, float),
}
KUBERNETES = {
    "ConfigMap": "apiVersion:str binaryData:dict data:dict immutable:bool kind:str metadata:dict",
    "Deployment": "apiVersion:str kind:str metadata:dict spec!:dict status:dict",
    "Deployment.spec": """
        minReadySeconds:int paused:bool progressDeadlineSeconds:int replicas:int revisionHistoryLimit:int selector!:dict
        strategy:dict template!:dict
    """,
    "Deployment.spec.strategy": "rollingUpdate:dict type:str",
    "Deployment.spec.strategy.rollingUpdate": "maxSurge:int|str maxUnavailable:int|str",
    "Deployment.spec.template": "metadata:dict spec:dict",
    "pod": """
        activeDeadlineSeconds:int affinity:dict automountServiceAccountToken:bool containers!:list dnsConfig:dict
        dnsPolicy:str enableServiceLinks:bool ephemeralContainers:list evictionResponders:list hostAliases:list
        hostIPC:bool hostNetwork:bool hostPID:bool hostUsers:bool hostname:str hostnameOverride:str
        imagePullSecrets:list initContainers:list nodeName:str nodeSelector:dict os:dict overhead:dict
        preemptionPolicy:str priority:int priorityClassName:str readinessGates:list resourceClaims:list resources:dict
        restartPolicy:str runtimeClassName:str schedulerName:str schedulingGates:list schedulingGroup:dict
        securityContext:dict serviceAccount:str serviceAccountName:str setHostnameAsFQDN:bool shareProcessNamespace:bool
        subdomain:str terminationGracePeriodSeconds:int tolerations:list topologySpreadConstraints:list volumes:list
    """,
    "pod.containers[]": """
        args:list command:list env:list envFrom:list image:str imagePullPolicy:str lifecycle:dict livenessProbe:dict
        name!:str ports:list readinessProbe:dict resizePolicy:list resources:dict restartPolicy:str
        restartPolicyRules:list securityContext:dict startupProbe:dict stdin:bool stdinOnce:bool
        terminationMessagePath:str terminationMessagePolicy:str tty:bool volumeDevices:list volumeMounts:list
        workingDir:str
    """,
    "pod.containers[].env[]": "name!:str value:str valueFrom:dict",
    "pod.containers[].ports[]": "containerPort!:int hostIP:str hostPort:int name:str protocol:str",
    "pod.containers[].resources": "claims:list limits:dict requests:dict",
    "pod.containers[].securityContext": """
        allowPrivilegeEscalation:bool appArmorProfile:dict capabilities:dict privileged:bool procMount:str
        readOnlyRootFilesystem:bool runAsGroup:int runAsNonRoot:bool runAsUser:int seLinuxOptions:dict
        seccompProfile:dict windowsOptions:dict
    """,
    "pod.containers[].securityContext.capabilities": "add:list drop:list",
    "pod.containers[].volumeMounts[]": """
        bindMountOptions:list mountPath!:str mountPropagation:str name!:str readOnly:bool recursiveReadOnly:str
        subPath:str subPathExpr:str
    """,
    "pod.securityContext": """
        appArmorProfile:dict fsGroup:int fsGroupChangePolicy:str runAsGroup:int runAsNonRoot:bool runAsUser:int
        seLinuxChangePolicy:str seLinuxOptions:dict seccompProfile:dict supplementalGroups:list
        supplementalGroupsPolicy:str sysctls:list windowsOptions:dict
    """,
    "pod.securityContext.seccompProfile": "localhostProfile:str type!:str",
    "pod.topologySpreadConstraints[]": """
        labelSelector:dict matchLabelKeys:list maxSkew!:int minDomains:int nodeAffinityPolicy:str nodeTaintsPolicy:str
        topologyKey!:str whenUnsatisfiable!:str
    """,
    "pod.topologySpreadConstraints[].labelSelector": "matchExpressions:list matchLabels:dict",
    "pod.volumes[]": """
        awsElasticBlockStore:dict azureDisk:dict azureFile:dict cephfs:dict cinder:dict configMap:dict csi:dict
        downwardAPI:dict emptyDir:dict ephemeral:dict fc:dict flexVolume:dict flocker:dict gcePersistentDisk:dict
        gitRepo:dict glusterfs:dict hostPath:dict image:dict iscsi:dict name!:str nfs:dict persistentVolumeClaim:dict
        photonPersistentDisk:dict portworxVolume:dict projected:dict quobyte:dict rbd:dict scaleIO:dict secret:dict
        storageos:dict vsphereVolume:dict
    """,
    "pod.volumes[].configMap": "defaultMode:int defaultUser:int items:list name:str optional:bool",
    "pod.volumes[].emptyDir": "medium:str mode:int sizeLimit:float|str",
    "pod.volumes[].secret": "defaultMode:int defaultUser:int items:list optional:bool secretName:str",
    "Ingress": "apiVersion:str kind:str metadata:dict spec:dict status:dict",
    "Ingress.spec": "defaultBackend:dict ingressClassName:str rules:list tls:list",
    "Ingress.spec.rules[]": "host:str http:dict",
    "Ingress.spec.rules[].http": "paths!:list",
    "Ingress.spec.rules[].http.paths[]": "backend!:dict path:str pathType!:str",
    "Ingress.spec.rules[].http.paths[].backend": "resource:dict service:dict",
    "Ingress.spec.rules[].http.paths[].backend.service": "name!:str port:dict",
    "Ingress.spec.rules[].http.paths[].backend.service.port": "name:str number:int",
    "Ingress.spec.tls[]": "hosts:list secretName:str",
    "PodDisruptionBudget": "apiVersion:str kind:str metadata:dict spec:dict status:dict",
    "PodDisruptionBudget.spec": """
        maxUnavailable:int|str minAvailable:int|str selector:dict unhealthyPodEvictionPolicy:str
    """,
    "Secret": "apiVersion:str data:dict immutable:bool kind:str metadata:dict stringData:dict type:str",
    "Service": "apiVersion:str kind:str metadata:dict spec:dict status:dict",
    "Service.spec": """
        allocateLoadBalancerNodePorts:bool clusterIP:str clusterIPs:list externalIPs:list externalName:str
        externalTrafficPolicy:str healthCheckNodePort:int internalTrafficPolicy:str ipFamilies:list ipFamilyPolicy:str
        loadBalancerClass:str loadBalancerIP:str loadBalancerSourceRanges:list ports:list publishNotReadyAddresses:bool
        selector:dict sessionAffinity:str sessionAffinityConfig:dict trafficDistribution:str type:str
    """,
    "Service.spec.ports[]": "appProtocol:str name:str nodePort:int port!:int protocol:str targetPort:int|str",
    "httpGet": "host:str httpHeaders:list path:str port!:int|str protocol:str scheme:str",
    "metadata": """
        annotations:dict creationTimestamp:str deletionGracePeriodSeconds:int deletionTimestamp:str finalizers:list
        generateName:str generation:int labels:dict managedFields:list name:str namespace:str ownerReferences:list
        resourceVersion:str selfLink:str uid:str
    """,
    "probe": """
        exec:dict failureThreshold:int grpc:dict httpGet:dict initialDelaySeconds:int periodSeconds:int
        successThreshold:int tcpSocket:dict terminationGracePeriodSeconds:int timeoutSeconds:int
    """,
    "Deployment.spec.selector": "matchExpressions:list matchLabels:dict",
    "PodDisruptionBudget.spec.selector": "matchExpressions:list matchLabels:dict",
}
COMPOSE = {
    "compose": """
        version:str name:str include:list services:dict models:dict networks:dict volumes:dict secrets:dict
        configs:dict
    """,
    "compose.networks.*": """
        name:str driver:str driver_opts:dict ipam:dict external:bool|dict|str internal:bool|str enable_ipv4:bool|str
        enable_ipv6:bool|str attachable:bool|str labels:list|dict
    """,
    "compose.secrets.*": """
        name:str environment:str file:str external:bool|dict|str labels:list|dict driver:str driver_opts:dict
        template_driver:str
    """,
    "service": """
        develop:dict deploy:dict annotations:list|dict attach:bool|str build:dict|str blkio_config:dict cap_add:list
        cap_drop:list cgroup:str cgroup_parent:str command:list|str configs:list container_name:str cpu_count:int|str
        cpu_percent:int|str cpu_shares:float|str cpu_quota:float|str cpu_period:float|str cpu_rt_period:float|str
        cpu_rt_runtime:float|str cpus:float|str cpuset:str credential_spec:dict depends_on:list|dict
        device_cgroup_rules:list devices:list dns:list|str dns_opt:list dns_search:list|str domainname:str
        entrypoint:list|str env_file:list|str label_file:list|str environment:list|dict expose:list extends:dict|str
        provider:dict external_links:list extra_hosts:list|dict gpus:list|str group_add:list healthcheck:dict
        hostname:str image:str init:bool|str ipc:str isolation:str labels:list|dict links:list logging:dict
        mac_address:str mem_limit:float|str mem_reservation:int|str mem_swappiness:int|str memswap_limit:float|str
        network_mode:str models:list|dict networks:list|dict oom_kill_disable:bool|str oom_score_adj:int|str pid:str
        pids_limit:float|str platform:str ports:list post_start:list pre_stop:list privileged:bool|str profiles:list
        pull_policy:str pull_refresh_after:str read_only:bool|str restart:str runtime:str scale:int|str
        security_opt:list shm_size:float|str secrets:list sysctls:list|dict stdin_open:bool|str stop_grace_period:str
        stop_signal:str storage_opt:dict tmpfs:list|str tty:bool|str ulimits:dict use_api_socket:bool user:str uts:str
        userns_mode:str volumes:list volumes_from:list working_dir:str
    """,
    "service.depends_on.*": "restart:bool|str required:bool condition!:str",
    "service.deploy": """
        mode:str endpoint_mode:str replicas:int|str labels:list|dict rollback_config:dict update_config:dict
        resources:dict restart_policy:dict placement:dict
    """,
    "service.healthcheck": """
        disable:bool|str interval:str retries:float|str test:list|str timeout:str start_period:str
        start_interval:str
    """,
}


def mistakes(value: object, path: str, fields: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with an object of that kind, and with those in it."""
    if isinstance(value, list):
        for one in value:
            yield from mistakes(one, f"{path}[]", fields)
    elif isinstance(value, dict):
        known = _known(path, fields)
        if known is None:  # names of people's choice, such as labels
            for one in value.values():
                yield from mistakes(one, f"{path}.*", fields)
            return
        yield from (f"{path}.{name} is missing" for name, needed in known.items() if needed[1] and name not in value)
        for name, one in value.items():
            if name not in known:
                yield f"{path}.{name} is no field"
            elif not isinstance(one, known[name][0]):
                yield f"{path}.{name} is a {type(one).__name__}"
            else:
                yield from mistakes(one, f"{path}.{name}", fields)


def _known(path: str, fields: Mapping[str, str]) -> dict[str, tuple[tuple[type, ...], bool]] | None:
    """Return the fields at a path, by all of it or its last name: their types, and whether they must be there."""
    last = path.rsplit(".", 1)[-1]
    for long, brief in _BRIEF.items():
        path = path.replace(long, brief)
    text = fields.get(path, fields.get("probe" if last.endswith("Probe") else last))
    if text is None:
        return None
    pairs = (word.split(":") for word in text.split())
    return {
        name.rstrip("!"): (tuple(kind for one in types.split("|") for kind in _TYPES[one]), name.endswith("!"))
        for name, types in pairs
    }


_BRIEF = {"Deployment.spec.template.spec": "pod", "compose.services.*": "service"}
