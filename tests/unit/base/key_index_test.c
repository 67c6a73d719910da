#include <criterion/criterion.h>

#include "bb/key_index.h"

#define THINGS 3000

struct thing {
    uint8_t key[4];
    bool is_in;
};
static struct thing things[THINGS];

static struct bb_slice key_of(const void *thing)
{
    const struct thing *from = thing;
    return bb_slice(from->key, 1 + from->key[0] % 4);
}

Test(key_index, finds_what_is_in_it_and_nothing_else_while_it_grows_and_shrinks)
{
    struct bb_key_index index;
    uint64_t state = 7;
    size_t count = 0;

    bb_key_index_init(&index, key_of);
    for (uint32_t i = 0; i < THINGS; i++)
        things[i] = (struct thing){ .key = { 3, (uint8_t)i, (uint8_t)(i >> 8), 9 } };
    for (int step = 0; step < 40000; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        struct thing *thing = &things[(state >> 33) % THINGS];
        bool is_filling = step / 10000 % 2 == 0;
        cr_assert_eq(bb_key_index_find(&index, key_of(thing)), thing->is_in ? thing : NULL);
        if (thing->is_in != is_filling) {
            thing->is_in = is_filling;
            if (is_filling)
                bb_key_index_add(&index, thing);
            else
                bb_key_index_remove(&index, thing);
            count = is_filling ? count + 1 : count - 1;
        }
        cr_assert_eq(index.count, count);
    }
    for (size_t i = 0; i < THINGS; i++)
        cr_assert_eq(bb_key_index_find(&index, key_of(&things[i])),
                     things[i].is_in ? &things[i] : NULL);
    bb_key_index_fini(&index);
}
