/* Half precision and FP8 by bits, for device code that a device converts with one instruction. */
#include "kernels/emu/machine.h"

float emu_half_to_float(uint16_t h)
{
    uint32_t exponent = h >> 10 & 31;
    uint32_t fraction = h & 1023;
    float magnitude = 0;
    if (exponent == 31) {
        magnitude = fraction ? NAN : INFINITY;
    } else if (exponent) {
        magnitude = ldexpf((float)(1024 + fraction), (int)exponent - 25);
    } else {
        magnitude = ldexpf((float)fraction, -24);
    }
    return h & 0x8000 ? -magnitude : magnitude;
}

uint16_t emu_float_to_half(float f)
{
    uint16_t sign = (uint16_t)(__float_as_uint(f) >> 16 & 0x8000);
    float magnitude = fabsf(f);
    if (isnan(f)) {
        return 0x7FFF;
    }
    if (magnitude >= 65520.0F) {
        return (uint16_t)(sign | 0x7C00);
    }
    int exponent = magnitude > 0 ? ilogbf(magnitude) : -25;
    exponent = exponent < -14 ? -14 : exponent;
    /* nearbyintf rounds ties to even; a carry moves into the exponent as it should */
    uint32_t units = (uint32_t)nearbyintf(ldexpf(magnitude, 10 - exponent));
    return (uint16_t)(sign | (units < 1024 ? units : ((uint32_t)(exponent + 15) << 10) + (units - 1024)));
}

uint8_t emu_float_to_e4m3(float f)
{
    uint8_t sign = (uint8_t)(__float_as_uint(f) >> 24 & 0x80);
    float magnitude = fabsf(f);
    if (!emu_has_e4m3()) {
        emu_fault(cudaErrorLaunchFailure, "a number becomes e4m3 on a device before 8.9");
    }
    if (isnan(f)) {
        return 0x7F;
    }
    if (magnitude >= 448.0F) {
        return (uint8_t)(sign | 0x7E);
    }
    int exponent = magnitude > 0 ? ilogbf(magnitude) : -7;
    exponent = exponent < -6 ? -6 : exponent;
    uint32_t units = (uint32_t)nearbyintf(ldexpf(magnitude, 3 - exponent));
    return (uint8_t)(sign | (units < 8 ? units : ((uint32_t)(exponent + 7) << 3) + (units - 8)));
}
