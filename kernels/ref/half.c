#include "kernels/ref/half.h"

#include <math.h>
#include <stdbool.h>

float ref_half_to_float(uint16_t h)
{
    int exponent = h >> 10 & 31;
    float fraction = (float)(h & 1023);
    float sign = h & 0x8000 ? -1.0F : 1.0F;
    if (exponent == 31) {
        return fraction > 0 ? NAN : sign * INFINITY;
    }
    return sign * (exponent ? ldexpf(1024.0F + fraction, exponent - 25) : ldexpf(fraction, -24));
}

float ref_bf16_to_float(uint16_t h)
{
    int exponent = h >> 7 & 255;
    float fraction = (float)(h & 127);
    float sign = h & 0x8000 ? -1.0F : 1.0F;
    if (exponent == 255) {
        return fraction > 0 ? NAN : sign * INFINITY;
    }
    return sign * (exponent ? ldexpf(128.0F + fraction, exponent - 134) : ldexpf(fraction, -133));
}

uint16_t ref_float_to_bf16(float f)
{
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    uint16_t low = 0;
    uint16_t high = 0x7F80; /* infinity */
    if (isnan(f)) {
        return 0x7FFF;
    }
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (ref_bf16_to_float(middle) <= fabsf(f)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double above = high == 0x7F80 ? ldexp(1.0, 128) : (double)ref_bf16_to_float(high);
    double middle = ((double)ref_bf16_to_float(low) + above) / 2;
    double magnitude = fabs((double)f);
    bool up = magnitude > middle || (magnitude == middle && (low & 1));
    return (uint16_t)(sign | (up ? high : low));
}

/* By search: the nearest of all 31744 finite halves, the even one of two as near. */
uint16_t ref_float_to_half(float f)
{
    float magnitude = fabsf(f);
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    uint16_t low = 0;
    uint16_t high = 0x7C00; /* infinity, which stands where 65536 would */
    if (isnan(f)) {
        return 0x7FFF;
    }
    if (magnitude >= 65520.0F) {
        return (uint16_t)(sign | high);
    }
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (ref_half_to_float(middle) <= magnitude) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double below = (double)magnitude - (double)ref_half_to_float(low);
    double above = (high == 0x7C00 ? 65536.0 : (double)ref_half_to_float(high)) - (double)magnitude;
    bool up = above < below || (above == below && (low & 1));
    return (uint16_t)(sign | (up ? high : low));
}

float ref_e4m3_to_float(uint8_t q)
{
    int exponent = q >> 3 & 15;
    float fraction = (float)(q & 7);
    float sign = q & 0x80 ? -1.0F : 1.0F;
    if ((q & 0x7F) == 0x7F) {
        return NAN;
    }
    return sign * (exponent ? ldexpf(8.0F + fraction, exponent - 10) : ldexpf(fraction, -9));
}

/* By search through all 127 magnitudes. */
uint8_t ref_float_to_e4m3(float f)
{
    uint8_t sign = signbit(f) ? 0x80 : 0;
    uint8_t best = 0;
    if (isnan(f)) {
        return 0x7F;
    }
    for (uint8_t q = 1; q < 0x7F; q++) {
        double error = fabs((double)ref_e4m3_to_float(q) - fabs((double)f));
        double least = fabs((double)ref_e4m3_to_float(best) - fabs((double)f));
        best = error < least || (error == least && q % 2 == 0) ? q : best;
    }
    return (uint8_t)(sign | best);
}
