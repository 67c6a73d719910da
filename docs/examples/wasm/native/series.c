/*
 * What the example computes in WebAssembly: the standard deviation of a series, and its checksum.
 *
 *     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -Wl,--strip-all series.c
 *     mv a.out ../bitbend/series.wasm
 */
#define EXPORT(name) __attribute__((export_name(name)))

/* Where the caller writes its numbers, straight into the memory of the instance. */
#define ROOM 4096
static double numbers[ROOM];

EXPORT("numbers") double *numbers_at(void)
{
    return numbers;
}

EXPORT("room") int room(void)
{
    return ROOM;
}

/* Welford's method: one pass, and no large sums that cancel each other out. */
EXPORT("deviation") double deviation(int count)
{
    double mean = 0, sum = 0;

    for (int i = 0; i < count; i++) {
        double delta = numbers[i] - mean;
        mean += delta / (i + 1);
        sum += delta * (numbers[i] - mean);
    }
    return __builtin_sqrt(sum / count);
}

/* Adler-32 over the bytes of the numbers. */
EXPORT("checksum") unsigned checksum(int count)
{
    const unsigned char *bytes = (const unsigned char *)numbers;
    unsigned a = 1, b = 0;

    for (int i = 0; i < count * (int)sizeof *numbers; i++) {
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}
