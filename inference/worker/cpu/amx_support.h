/* Whether this process may use AMX's tiles: the processor has them, the system keeps them when it switches threads, and
 * allows them to this process (Linux from 5.16 on; a process has to ask, once for all its threads).
 * Errors: ERR_UNAVAILABLE (processor or system have them not), ERR_DENIED (the system refused).
 * Thread rule: any thread. */
#ifndef TIDE_WORKER_CPU_AMX_SUPPORT_H
#define TIDE_WORKER_CPU_AMX_SUPPORT_H

#include "base/err.h"

/* What the processor says of itself: CPUID and XCR0 (Intel SDM volume 1, 13 and 18; volume 2A, CPUID). */
struct amx_words {
    uint32_t leaf1_ecx;      /* bit 27: XCR0 can be read */
    uint32_t leaf7_edx;      /* bit 24: tiles, bit 25: int8 */
    uint32_t palette_bytes;  /* EAX of leaf 1D.1: bytes of all tiles << 0, of one tile << 16 */
    uint32_t palette_rows;   /* EBX: bytes of a row << 0, tiles << 16 */
    uint32_t palette_height; /* ECX: rows of a tile << 0 */
    uint64_t xcr0;           /* bits 17 and 18: the system keeps tiles */
};

int amx_words_check(const struct amx_words *w, struct err *err) TIDE_CHECK;
int amx_support(struct err *err) TIDE_CHECK; /* checks, and asks the system */

#endif
