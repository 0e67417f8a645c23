/*-------------------------------------------------------------------------
 *
 * worker_registration.h
 *	  Registers flush workers with the postmaster.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_WORKER_REGISTRATION_H
#define APIKEYS_FLUSH_WORKER_REGISTRATION_H

extern bool worker_registration_register(Oid database, int64 delay_ms);

#endif							/* APIKEYS_FLUSH_WORKER_REGISTRATION_H */
