/* Tells the service manager how we are: READY=1, RELOADING=1, STOPPING=1, WATCHDOG=1, STATUS=... in systemd's
 * datagram protocol (sd_notify(3)), without its library. Does nothing when NOTIFY_SOCKET is not set.
 *
 * Errors: none; a manager that does not listen is not our trouble.
 * Thread rule: any thread. */
#ifndef TIDE_BASE_SD_NOTIFY_H
#define TIDE_BASE_SD_NOTIFY_H

#include <stdint.h>

void sd_notify_state(const char *assignments); /* "READY=1\nSTATUS=serving" */
uint64_t sd_watchdog_ms(void); /* half of WATCHDOG_USEC: how often to ping; 0 = not asked for */

#endif
