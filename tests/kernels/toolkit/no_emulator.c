/* emu.h where kernels run on a device: what only the emulator can do skips the test that asks for it, what it would look
 * at is not looked at. Linked with the kernel tests of a build for devices (cmake/TideCuda.cmake). */
#include "tests/unit/unit.h"

#include "kernels/emu/emu.h"

void emu_reset(const struct emu_conf *conf)
{
    if (conf) {
        skip(); /* it wants devices of a certain kind */
    }
}

void emu_seed(uint64_t seed)
{
}

void emu_fail(enum emu_failure what, uint32_t after)
{
    skip();
}

const char *emu_fault_text(void)
{
    return "on a device";
}

size_t emu_bytes_allocated(void)
{
    return 0; /* nobody counts */
}

void emu_traffic_start(void)
{
    skip();
}

struct emu_traffic emu_traffic_stop(void)
{
    return (struct emu_traffic){0};
}
