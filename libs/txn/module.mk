DEPS_txn := base value proto
PKGS_txn := libprotobuf-c
