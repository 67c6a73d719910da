DEPS_worker := base obs conf env value rt proto wire mvcc
PKGS_worker := libuv libprotobuf-c
LIBS_worker :=
