/* Half precision, bfloat16 and FP8 (e4m3: no infinities, largest 448) for references, by bits. Thread rule: pure functions. */
#ifndef TIDE_KERNELS_HALF_H
#define TIDE_KERNELS_HALF_H

#include <stdint.h>

float ref_half_to_float(uint16_t h);
float ref_bf16_to_float(uint16_t h);
uint16_t ref_float_to_bf16(float f); /* of numbers; nearest, ties to even */
uint16_t ref_float_to_half(float f); /* nearest, ties to even; overflow gives infinity */
float ref_e4m3_to_float(uint8_t q);
uint8_t ref_float_to_e4m3(float f); /* nearest, ties to even; overflow gives 448 */

#endif
