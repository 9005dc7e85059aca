/* Where the columns of a product lie: those of every row of x, or those that are listed for one piece of a matrix. */
#ifndef TIDE_KERNELS_COLUMNS_CUH
#define TIDE_KERNELS_COLUMNS_CUH

#include "kernels/kdev.h"

struct columns {
    const uint32_t *use; /* the number of each column; NULL: its own */
    uint32_t count;
    uint32_t uses_of_row; /* columns that read the same row of x */
    size_t x_from;        /* values before the first row of x that is read */
    size_t x_pitch;       /* values from one row of x to the next; both are multiples of 32 for int8 */
    size_t out_from;
    size_t out_pitch;
};

static __device__ __forceinline__ size_t column_use(const struct columns &c, uint32_t i)
{
    return c.use ? c.use[i] : i;
}

static __device__ __forceinline__ size_t column_row(const struct columns &c, uint32_t i)
{
    return column_use(c, i) / c.uses_of_row;
}

/* The first value of x that column i meets. */
static __device__ __forceinline__ size_t column_x(const struct columns &c, uint32_t i)
{
    return c.x_from + column_row(c, i) * c.x_pitch;
}

/* The value of out that row 0 gives for column i. */
static __device__ __forceinline__ size_t column_out(const struct columns &c, uint32_t i)
{
    return c.out_from + column_use(c, i) * c.out_pitch;
}

#endif
