# The load generator of make bench: one program of all files here.
LOADER := $(OUT)/test/loader
OBJ_loader := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/loader/*.c))
$(OUT)/tests/loader/%.o: tests/loader/%.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) $(call inc_of,base) -MMD -MP -c $< -o $@
$(LOADER): $(OBJ_loader) $(OUT)/lib/libbb_base.a
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ -lpthread -lm
PROGRAMS_bench += $(LOADER)
