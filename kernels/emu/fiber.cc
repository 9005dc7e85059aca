#include "kernels/emu/fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#ifdef __x86_64__
typedef void *context;
#else
typedef ucontext_t context;
#endif

struct fiber {
    context self;
    void (*fn)(void);
    bool ended;
};

static struct fiber fibers[FIBERS_MAX];
static context scheduler;
static unsigned current;
static unsigned prepared;
uintptr_t fiber_stack_running;
static char *stacks; /* FIBERS_MAX of them, each over its guard page */

enum { SLOT = FIBER_STACK_BYTES + FIBER_GUARD_BYTES };

#ifdef __x86_64__
/* Keeps the callee-saved registers on the stack, its pointer in *save, and goes on from `load`.
 * glibc's swapcontext would ask the system for the signal mask each time. */
extern "C" void emu_fiber_switch(void **save, void *load);
__asm__(".text\n"
        ".globl emu_fiber_switch\n"
        ".type emu_fiber_switch,@function\n"
        "emu_fiber_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emu_fiber_switch,.-emu_fiber_switch\n");

static void switch_to(context *save, context *load)
{
    emu_fiber_switch(save, *load);
}
#else
static void switch_to(context *save, context *load)
{
    swapcontext(save, load);
}
#endif

static void body(void)
{
    fibers[current].fn();
    fibers[current].ended = true;
    fiber_yield();
    abort(); /* an ended fiber is not resumed */
}

void fibers_prepare(unsigned count)
{
    if (!stacks) {
        void *p = mmap(NULL, (size_t)SLOT * FIBERS_MAX, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            perror("emu: stacks");
            abort();
        }
        stacks = static_cast<char *>(p);
    }
    for (; prepared < count; prepared++) {
        if (mprotect(stacks + (size_t)prepared * SLOT + FIBER_GUARD_BYTES, FIBER_STACK_BYTES,
                     PROT_READ | PROT_WRITE)) {
            perror("emu: stacks");
            abort();
        }
    }
}

void fiber_start(unsigned i, void (*fn)(void))
{
    char *top = stacks + (size_t)(i + 1) * SLOT;
    fibers[i].fn = fn;
    fibers[i].ended = false;
#ifdef __x86_64__
    void **sp = reinterpret_cast<void **>(top) - 1; /* so that body() finds the alignment of a call */
    *--sp = reinterpret_cast<void *>(body);
    for (int saved = 0; saved < 6; saved++) {
        *--sp = NULL;
    }
    fibers[i].self = sp;
#else
    getcontext(&fibers[i].self);
    fibers[i].self.uc_stack.ss_sp = top - FIBER_STACK_BYTES;
    fibers[i].self.uc_stack.ss_size = FIBER_STACK_BYTES;
    fibers[i].self.uc_link = NULL;
    makecontext(&fibers[i].self, body, 0);
#endif
}

void fiber_resume(unsigned i)
{
    current = i;
    fiber_stack_running = fiber_stacks_begin() + (uintptr_t)SLOT * i + FIBER_GUARD_BYTES;
    switch_to(&scheduler, &fibers[i].self);
}

void fiber_yield(void)
{
    switch_to(&fibers[current].self, &scheduler);
}

bool fiber_has_ended(unsigned i)
{
    return fibers[i].ended;
}

uintptr_t fiber_stacks_begin(void)
{
    return reinterpret_cast<uintptr_t>(stacks);
}

uintptr_t fiber_stacks_end(void)
{
    return stacks ? fiber_stacks_begin() + (uintptr_t)SLOT * FIBERS_MAX : 0;
}

unsigned fiber_of_stack(uintptr_t address)
{
    return (unsigned)((address - fiber_stacks_begin()) / SLOT);
}
