DEPS_occ := base
PKGS_occ :=
