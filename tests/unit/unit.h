/* What every unit test includes first: cmocka and the headers that it wants before itself. */
#ifndef TIDE_TESTS_UNIT_H
#define TIDE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
