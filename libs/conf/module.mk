DEPS_conf := base obs
PKGS_conf :=
