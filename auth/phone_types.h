/* Kinds of phone numbers that receive codes: shared by phone.h and the C++ file behind it.
 *
 * Thread rule: constants. */
#ifndef TIDE_AUTH_PHONE_TYPES_H
#define TIDE_AUTH_PHONE_TYPES_H

enum phone_type {
    PHONE_TYPE_MOBILE = 0,
    PHONE_TYPE_FIXED_OR_MOBILE = 1, /* countries whose ranges do not tell (North America) */
    PHONE_TYPE_VOIP = 2,
};

#endif
