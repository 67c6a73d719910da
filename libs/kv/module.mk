DEPS_kv := base
PKGS_kv := lmdb
