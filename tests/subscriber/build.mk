# The subscribers of make bench: one program of all files here; PostgreSQL's messages as the loader writes them.
SUBSCRIBER := $(OUT)/test/subscriber
OBJ_subscriber := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/subscriber/*.c))
$(OUT)/tests/subscriber/%.o: tests/subscriber/%.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) $(call inc_of,base) -Itests/loader -MMD -MP -c $< -o $@
$(SUBSCRIBER): $(OBJ_subscriber) $(OUT)/lib/libbb_base.a
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ -lpthread -lm
PROGRAMS_bench += $(SUBSCRIBER)
