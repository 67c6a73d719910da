DEPS_storage := base obs conf env value rt proto wire mvcc kv replog feed store
PKGS_storage := libuv libprotobuf-c
LIBS_storage :=
