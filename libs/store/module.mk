DEPS_store := base env obs mvcc kv proto
PKGS_store := libprotobuf-c
