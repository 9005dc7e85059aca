/* What decides whether AMX is used, the kernels' use of the tile unit, and the stand-ins that this runs over. */
#include "tests/unit/avx512_standin.h"
#include "tests/unit/tile_standin.h"

#include "inference/worker/cpu/amx_strips.h"
#include "inference/worker/cpu/amx_support.h"
#include "inference/worker/cpu/avx512_strips.h"

/* --- the stand-in ------------------------------------------------------------------------------------ */

/* What the unit says against `config`, and then against an instruction. */
struct attempt {
    uint8_t config[64];
    void (*act)(void);
};

static const char *fault_of(const struct attempt *a)
{
    jmp_buf back;
    standin.expected = &back;
    standin.fault = NULL;
    if (setjmp(back) == 0) {
        tile_configure(a->config);
        if (a->act) {
            a->act();
        }
    }
    standin.expected = NULL;
    return standin.fault;
}

static void expect_fault(const struct attempt *a, const char *what)
{
    const char *fault = fault_of(a);
    assert_non_null(fault);
    assert_string_equal(fault, what);
}

/* Tiles 0 to 2 as the kernels have them: 16 x 64 sums, 16 x 32 tokens, 8 x 64 weights. */
static struct attempt usual(void (*act)(void))
{
    struct attempt a = {.act = act};
    memcpy(a.config, &tiles_whole, sizeof a.config);
    return a;
}

static void expect_refused(unsigned byte, uint8_t value, const char *what)
{
    struct attempt a = usual(NULL);
    a.config[byte] = value;
    expect_fault(&a, what);
}

static void configurations(void **state)
{
    struct attempt a = usual(NULL);
    assert_null(fault_of(&a));
    expect_refused(0, 2, "an unknown palette");
    expect_refused(1, 3, "a start row");
    expect_refused(9, 1, "a reserved byte is set");
    expect_refused(16 + 2 * 8, 64, "a ninth tile");
    expect_refused(48 + 15, 1, "a ninth tile");
    expect_refused(16, 65, "a tile too large");
    expect_refused(17, 1, "a tile too large"); /* 256 more bytes */
    expect_refused(48, 17, "a tile too large");
    expect_refused(48 + 1, 0, "a tile with no rows or no bytes");
    expect_refused(16 + 2 * 5, 4, "a tile with no rows or no bytes");
}

static void zero_ninth(void)
{
    tile_zero(8);
}

static void load_unused(void)
{
    uint8_t row[64] = {0};
    tile_load(3, row, 0);
}

static void store_after_release(void)
{
    uint8_t rows[16][64];
    tile_release();
    tile_store(0, rows, 64);
}

static void dot_one_tile_twice(void)
{
    tile_dot(0, 1, 1);
}

static void dot_usual(void)
{
    tile_dot(0, 1, 2);
}

static void expect_unfit(unsigned byte, uint8_t value, const char *what)
{
    struct attempt a = usual(dot_usual);
    a.config[byte] = value;
    expect_fault(&a, what);
}

static void instructions(void **state)
{
    struct attempt bare = {.act = dot_usual}; /* palette 0 */
    struct attempt fits = usual(dot_usual);
    assert_null(fault_of(&fits));
    expect_fault(&bare, "no configuration");
    expect_fault(&(struct attempt){.act = zero_ninth}, "no configuration");
    fits.act = zero_ninth;
    expect_fault(&fits, "a tile that is not configured");
    fits.act = load_unused;
    expect_fault(&fits, "a tile that is not configured");
    fits.act = store_after_release;
    expect_fault(&fits, "no configuration");
    fits.act = dot_one_tile_twice;
    expect_fault(&fits, "one tile twice");
    expect_unfit(16 + 2 * 1, 30, "a part of four bytes");
    expect_unfit(48, 15, "rows of sums and first factor differ");
    expect_unfit(16, 60, "rows of sums and second factor differ");
    expect_unfit(48 + 2, 7, "columns of the first are not rows of the second");
}

/* By hand: two rows of eight times eight by three. */
static void a_product(void **state)
{
    static const int8_t a[2][8] = {{1, 2, 3, 4, -1, -2, -3, -4}, {127, -128, 0, 1, 5, 0, 0, -7}};
    static const int8_t b[2][12] = {{1, 1, 1, 1, -128, 127, 2, 0, 0, 0, 0, 9},
                                    {2, 0, 0, 1, 1, 1, 1, 1, -128, -128, -128, -128}};
    static const int32_t first[2][3] = {{4, 122, 1316}, {3, -32514, 265}};
    uint8_t config[64] = {[0] = 1, [16] = 12, [18] = 8, [20] = 12, [48] = 2, [49] = 2, [50] = 2};
    int32_t sums[2][5] = {{0}};
    tile_configure(config);
    tile_load(1, a, 8);
    tile_load(2, b, 12);
    tile_zero(0);
    tile_dot(0, 1, 2);
    tile_store(0, sums, sizeof sums[0]);
    assert_memory_equal(sums[0], first[0], sizeof first[0]);
    assert_memory_equal(sums[1], first[1], sizeof first[1]);
    assert_true(sums[0][3] == 0 && sums[1][4] == 0);
    tile_dot(0, 1, 2); /* adds */
    tile_store(0, sums, sizeof sums[0]);
    assert_int_equal(sums[1][1], -65028);
    tile_release();
}

/* --- the kernels ------------------------------------------------------------------------------------- */

static void whole_tiles_go_to_the_unit(void **state)
{
    enum { BLOCKS = 5 };
    static const uint8_t strip[BLOCKS * PACKED_6BIT_FINE_BYTES];
    static const int8_t q[KERNEL_TILE * 32 * BLOCKS];
    static const float scales[KERNEL_TILE * BLOCKS];
    static const int16_t totals[2 * KERNEL_TILE * BLOCKS];
    const struct quantized x = {q, scales, scales, totals, 32 * BLOCKS};
    float out[KERNEL_TILE][PACKED_ROWS];
    struct cpu_kernels few = avx512_kernels(&cpu_kernels_portable);
    struct cpu_kernels k = amx_kernels(&few);
    standin.products = 0;
    k.strip_4bit(strip, &x, KERNEL_TILE - 1, out);
    assert_int_equal(standin.products, 0);
    k.strip_4bit(strip, &x, KERNEL_TILE, out);
    assert_int_equal(standin.products, BLOCKS);
    k.strip_6bit_fine(strip, &x, KERNEL_TILE, out);
    assert_int_equal(standin.products, BLOCKS + 2 * BLOCKS);
    assert_false(standin.configured); /* left as it was found */
}

static void wrong_strip(const uint8_t *strip, const struct quantized *x, unsigned columns,
                        float out[KERNEL_TILE][PACKED_ROWS])
{
    memset(out, 0, columns * sizeof *out);
}

/* The look at start sees a unit that is off by one in one sum, and each kind of strip. */
static void a_wrong_product_is_seen(void **state)
{
    struct cpu_kernels right = avx512_kernels(&cpu_kernels_portable);
    struct cpu_kernels k = amx_kernels(&right);
    assert_true(cpu_kernels_agree(&k, &right));
    standin.error = 1;
    assert_false(cpu_kernels_agree(&k, &right));
    standin.error = 0;
    strip_cb *const kinds[] = {&k.strip_4bit,      &k.strip_5bit, &k.strip_5bit_min,
                               &k.strip_6bit_fine, &k.strip_8bit, &k.strip_8bit_fine_min};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        k = amx_kernels(&right);
        *kinds[i] = wrong_strip;
        assert_false(cpu_kernels_agree(&k, &right));
    }
    if (cpu_kernels_avx2()) {
        assert_true(cpu_kernels_agree(&right, cpu_kernels_avx2()));
    }
}

/* --- whether it is used ------------------------------------------------------------------------------ */

/* As a Xeon of the fourth generation says. */
static const struct amx_words xeon = {.leaf1_ecx = 0x7FFEFBFF,
                                      .leaf7_edx = 0xFFDD4432,
                                      .palette_bytes = 1024U << 16 | 8192,
                                      .palette_rows = 8U << 16 | 64,
                                      .palette_height = 16,
                                      .xcr0 = 0x602E7};

static void expect_missing(struct amx_words w, const char *what)
{
    struct err err;
    assert_int_equal(amx_words_check(&w, &err), ERR_UNAVAILABLE);
    assert_string_equal(err.msg, what);
}

static void words(void **state)
{
    struct amx_words w = xeon;
    assert_int_equal(amx_words_check(&w, NULL), 0);
    w.leaf7_edx = xeon.leaf7_edx & ~(1U << 25);
    expect_missing(w, "the processor has none");
    w.leaf7_edx = xeon.leaf7_edx & ~(1U << 24);
    expect_missing(w, "the processor has none");
    w = xeon;
    w.xcr0 = 0xE7;
    expect_missing(w, "the system does not keep tiles");
    w.xcr0 = 0x200E7; /* their configuration only */
    expect_missing(w, "the system does not keep tiles");
    w = xeon;
    w.leaf1_ecx &= ~(1U << 27);
    expect_missing(w, "the system does not keep tiles");
    w = xeon;
    w.palette_height = 8;
    expect_missing(w, "tiles of another size");
    w = xeon;
    w.palette_rows = 4U << 16 | 64;
    expect_missing(w, "tiles of another size");
}

/* Whatever this machine is: kernels that agree, or the reason why there are none. */
static void here(void **state)
{
    struct err why = {.code = ERR_OK};
    const struct cpu_kernels *k = cpu_kernels_amx(&why);
    if (k) {
        assert_string_equal(k->name, "amx-int8");
        assert_true(cpu_kernels_agree(k, cpu_kernels_avx512()));
    } else {
        assert_true(why.code == ERR_UNAVAILABLE || why.code == ERR_DENIED);
        assert_true(why.msg[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations),
        cmocka_unit_test(instructions),
        cmocka_unit_test(a_product),
        cmocka_unit_test(whole_tiles_go_to_the_unit),
        cmocka_unit_test(a_wrong_product_is_seen),
        cmocka_unit_test(words),
        cmocka_unit_test(here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
