#include <criterion/criterion.h>

#include "digest.h"

static void expect(const uint8_t *digest, size_t size, const char *wanted)
{
    struct bb_buf hex;

    bb_buf_init(&hex);
    bb_hex_append(&hex, bb_slice(digest, size));
    bb_buf_append_byte(&hex, '\0');
    cr_expect_str_eq((const char *)hex.data, wanted);
    bb_buf_fini(&hex);
}

Test(digest, gives_the_vectors_of_the_standard)
{
    static const char two_blocks[] =
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlm"
        "nopqrsmnopqrstnopqrstu";
    static const struct {
        enum vm_hash hash;
        const char *data, *wanted;
    } cases[] = {
        { VM_SHA1, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
        { VM_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
        { VM_SHA1, two_blocks, "a49b2446a02c645bf419f995b67091253a04a259" },
        { VM_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { VM_SHA384, "abc",
          "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134"
          "c825a7" },
        { VM_SHA512, "abc",
          "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3"
          "feebbd454d4423643ce80e2a9ac94fa54ca49f" },
        { VM_SHA512, two_blocks,
          "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4"
          "b5433ac7d329eeb6dd26545e96e55b874be909" },
    };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint8_t digest[VM_DIGEST_MAX];
        expect(digest, vm_digest(cases[i].hash, bb_slice_str(cases[i].data), digest),
               cases[i].wanted);
    }
}

Test(digest, hmac_takes_keys_longer_than_a_block)
{
    /* RFC 4231, case 6. */
    static const char data[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    uint8_t key[131], digest[VM_DIGEST_MAX];

    memset(key, 0xaa, sizeof key);
    expect(digest, vm_hmac(VM_SHA256, bb_slice(key, sizeof key), bb_slice_str(data), digest),
           "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    expect(
        digest, vm_hmac(VM_SHA384, bb_slice(key, sizeof key), bb_slice_str(data), digest),
        "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f"
        "44952");
}
