DEPS_scheduler := base obs conf env value rt proto wire nodes workers follow nats
PKGS_scheduler := libprotobuf-c
