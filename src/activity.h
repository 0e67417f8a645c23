/*-------------------------------------------------------------------------
 *
 * activity.h
 *	  What happens to keys all the time: their last use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_ACTIVITY_H
#define APIKEYS_ACTIVITY_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

extern void activity_note_use(const pg_uuid_t *id, TimestampTz now);

#endif							/* APIKEYS_ACTIVITY_H */
