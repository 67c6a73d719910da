#!/bin/sh
# embed.sh SYMBOL FILE..: writes a C file with the files' bytes as a table of texts named SYMBOL.
set -eu
symbol=$1
shift
echo '#include <stddef.h>'
i=0
for file in "$@"; do
    printf 'extern const unsigned char %s_%d_begin[], %s_%d_end[];\n' "$symbol" $i "$symbol" $i
    printf '__asm__(".pushsection .rodata\\n%s_%d_begin: .incbin \\"%s\\"\\n%s_%d_end: .byte 0\\n.popsection");\n' \
        "$symbol" $i "$file" "$symbol" $i
    i=$((i + 1))
done
echo 'struct text { const char *name; const unsigned char *begin, *end; };'
printf 'extern const struct text %s[];\nextern const size_t %s_count;\n' "$symbol" "$symbol"
printf 'const struct text %s[] = {\n' "$symbol"
i=0
for file in "$@"; do
    printf '    { "%s", %s_%d_begin, %s_%d_end },\n' "$(basename "$file")" "$symbol" $i "$symbol" $i
    i=$((i + 1))
done
printf '    { "", NULL, NULL },\n};\nconst size_t %s_count = %d;\n' "$symbol" $i
