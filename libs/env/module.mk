DEPS_env := base
PKGS_env :=
