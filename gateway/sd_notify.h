/* Moved: base/sd_notify.h is the header; tide-status uses it too. */
#ifndef TIDE_GATEWAY_SD_NOTIFY_H
#define TIDE_GATEWAY_SD_NOTIFY_H

#include "base/sd_notify.h"

#endif
