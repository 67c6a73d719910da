DEPS_mvcc := base
PKGS_mvcc :=
