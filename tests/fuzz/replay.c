/* The main of a fuzz target where there is no libFuzzer: replays the target's seeds, and each of them cut short and
 * with bytes changed, the same ones every time. Not a fuzzer: nothing is learnt from what is reached.
 *
 *     x_fuzz SEEDS        a text file: one input a line, with \\ \n \r \t \xHH; lines that begin with # are comments
 *
 * Says how many inputs it tried. What a target finds wrong aborts. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"

enum { INPUT_MAX = 65536, CHANGES_MAX = 30000 };

static unsigned long tried;

static void try_input(const uint8_t *p, size_t n)
{
    tried++;
    (void)LLVMFuzzerTestOneInput(p, n);
}

static size_t unescape(const char *line, size_t n, uint8_t *out)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (line[i] != '\\' || i + 1 == n) {
            out[at++] = (uint8_t)line[i];
            continue;
        }
        char c = line[++i];
        if (c == 'x') {
            MUST(i + 2 < n && str_hex_decode(str_of(line + i + 1, 2), out + at, 1) == 1);
            at++;
            i += 2;
        } else {
            out[at++] = (uint8_t)(c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c);
        }
    }
    return at;
}

/* Every step-th of: the input cut short, and the input with one byte changed to each of a few. */
static void try_changed(uint8_t *p, size_t n, size_t step)
{
    static const uint8_t bytes[] = {0x00, '\n', '\r', ' ', '"', ',', '0', ':', 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < n; i += step) {
        try_input(p, i);
    }
    for (size_t i = 0; i < n * (sizeof(bytes) + 1); i += step) {
        size_t at = i / (sizeof(bytes) + 1), which = i % (sizeof(bytes) + 1);
        uint8_t before = p[at];
        p[at] = which < sizeof(bytes) ? bytes[which] : before ^ 0x20;
        try_input(p, n);
        p[at] = before;
    }
}

static void each_seed(FILE *f, size_t step, size_t *total)
{
    static uint8_t input[INPUT_MAX];
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    rewind(f);
    while ((n = getline(&line, &room, f)) > 0) {
        n -= line[n - 1] == '\n';
        if (line[0] == '#' || n > INPUT_MAX) {
            continue;
        }
        size_t used = unescape(line, (size_t)n, input);
        *total += used;
        if (step == 0) {
            try_input(input, used);
        } else {
            try_changed(input, used, step);
        }
    }
    free(line);
}

int main(int argc, char **argv)
{
    FILE *f = argc == 2 ? fopen(argv[1], "re") : NULL;
    size_t bytes = 0, again = 0;
    if (!f) {
        fprintf(stderr, "usage: %s SEEDS\n", argv[0]);
        return 2;
    }
    each_seed(f, 0, &bytes);
    unsigned long seeds = tried;
    each_seed(f, bytes * 13 / CHANGES_MAX + 1, &again);
    fclose(f);
    printf("%lu seeds, %lu inputs\n", seeds, tried);
    return seeds > 0 ? 0 : 1;
}
