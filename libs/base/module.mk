DEPS_base :=
PKGS_base :=
