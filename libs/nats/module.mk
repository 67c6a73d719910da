DEPS_nats := base
PKGS_nats := libnats
