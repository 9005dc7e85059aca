/* Stacks that the emulator switches between: one for each CUDA thread of the running block.
 * Not threads of the system: a fiber runs until it switches away itself.
 *
 *     fibers_prepare(n) once -> fiber_start(i, fn) -> fiber_resume(i) ... fiber_yield() ... -> fn returns
 *
 * A stack lies over a guard page. What lies on an abandoned stack is never destroyed: device code owns nothing.
 * Errors: out of memory aborts.
 * Thread rule: one system thread at a time. */
#ifndef TIDE_EMU_FIBER_H
#define TIDE_EMU_FIBER_H

#include <stddef.h>
#include <stdint.h>

enum { FIBERS_MAX = 1024, FIBER_STACK_BYTES = 64 << 10, FIBER_GUARD_BYTES = 4 << 10 };

void fibers_prepare(unsigned count);
void fiber_start(unsigned i, void (*fn)(void)); /* fn runs at the first resume; its return ends the fiber */
void fiber_resume(unsigned i);                  /* from the scheduler; returns at the fiber's next yield */
void fiber_yield(void);                         /* from a fiber */
bool fiber_has_ended(unsigned i);

/* Where stacks lie, for telling local memory from other memory; the lowest byte of the one that runs. */
extern uintptr_t fiber_stack_running;
uintptr_t fiber_stacks_begin(void);
uintptr_t fiber_stacks_end(void);
unsigned fiber_of_stack(uintptr_t address); /* address: within begin and end */

#endif
