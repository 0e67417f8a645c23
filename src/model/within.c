/*-------------------------------------------------------------------------
 *
 * within.c
 *	  May a key do no more than another one, and what may both do?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A configuration is within another one, its bound, if whatever a key with it may
 * do, a key with the bound may do as well.  What cannot be compared is not
 * within: a window of another length, for example, though it might limit more.
 *
 * The documents are those that hold for the keys, their plans applied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "model/ip_address.h"
#include "model/permissions.h"
#include "model/rate_limits.h"
#include "model/within.h"

PG_FUNCTION_INFO_V1(apikeys_common_permissions);
PG_FUNCTION_INFO_V1(apikeys_permissions_within);
PG_FUNCTION_INFO_V1(apikeys_rate_limits_within);

/* Is a limit, 0 for none, as strict as another one? */
static bool
number_within(int64 number, int64 bound)
{
	return bound == 0 || (number != 0 && number <= bound);
}

/* Of lists without which all is allowed. */
static bool
allowed_within(const Patterns *allowed, const Patterns *bound)
{
	if (bound == NULL)
		return true;
	return allowed == NULL ? patterns_cover_all(bound) : patterns_cover(bound, allowed);
}

/* Of lists without which nothing is granted. */
static bool
granted_within(const Patterns *granted, const Patterns *bound)
{
	return granted == NULL || (bound != NULL && patterns_cover(bound, granted));
}

/* Has an admin every custom permission; nothing else depends on it. */
static bool
permissions_within(Jsonb *document, Jsonb *bound_document)
{
	Permissions permissions;
	Permissions bound;

	permissions_parse(document, &permissions);
	permissions_parse(bound_document, &bound);

	return allowed_within(permissions.allowed_models, bound.allowed_models) &&
		   allowed_within(permissions.allowed_endpoints, bound.allowed_endpoints) &&
		   number_within(permissions.max_tokens_per_request, bound.max_tokens_per_request) &&
		   (bound.is_admin || (!permissions.is_admin &&
							   granted_within(permissions.custom_permissions, bound.custom_permissions)));
}

/*
 * Finds what two lists allow, without which all is allowed.  False if there is
 * nothing that both allow.
 */
static bool
common_allowed(Patterns *a, Patterns *b, Patterns **common)
{
	*common = a == NULL ? b : a;
	if (a != NULL && b != NULL)
		*common = patterns_common(a, b);
	return *common != NULL || a == NULL;
}

/* Returns what two lists grant, without which nothing is granted. */
static Patterns *
common_granted(const Permissions *a, const Permissions *b)
{
	if (b->is_admin)
		return a->custom_permissions;
	if (a->is_admin)
		return b->custom_permissions;
	if (a->custom_permissions == NULL || b->custom_permissions == NULL)
		return NULL;
	return patterns_common(a->custom_permissions, b->custom_permissions);
}

/* Finds what two documents permit; false if they have no models or no endpoints in common. */
static bool
find_common(const Permissions *a, const Permissions *b, Permissions *common)
{
	if (!common_allowed(a->allowed_models, b->allowed_models, &common->allowed_models) ||
		!common_allowed(a->allowed_endpoints, b->allowed_endpoints, &common->allowed_endpoints))
		return false;

	common->custom_permissions = common_granted(a, b);
	common->is_admin = a->is_admin && b->is_admin;
	common->max_tokens_per_request = Min(a->max_tokens_per_request, b->max_tokens_per_request);
	if (common->max_tokens_per_request == 0)
		common->max_tokens_per_request = Max(a->max_tokens_per_request, b->max_tokens_per_request);
	return true;
}

/* Returns permissions as a document, palloc'd. */
static Jsonb *
make_document(const Permissions *permissions)
{
	JsonbParseState *state = NULL;
	JsonbValue	number = {.type = jbvNumeric};
	JsonbValue	yes = {.type = jbvBool, .val.boolean = true};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	patterns_push(&state, "allowed_models", permissions->allowed_models);
	patterns_push(&state, "allowed_endpoints", permissions->allowed_endpoints);
	patterns_push(&state, "custom_permissions", permissions->custom_permissions);
	if (permissions->max_tokens_per_request != 0)
	{
		json_document_push_key(&state, "max_tokens_per_request");
		number.val.numeric = int64_to_numeric(permissions->max_tokens_per_request);
		pushJsonbValue(&state, WJB_VALUE, &number);
	}
	if (permissions->is_admin)
	{
		json_document_push_key(&state, "is_admin");
		pushJsonbValue(&state, WJB_VALUE, &yes);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Does a window count all requests that another one counts, by one list? */
static bool
counts_all(const Patterns *counted, const Patterns *bound)
{
	/* A list, even of "*", leaves out requests that name nothing. */
	return counted == NULL || (bound != NULL && patterns_cover(counted, bound));
}

/* Does a window let pass no more than another one? */
static bool
window_within(const WindowLimit *window, const WindowLimit *bound)
{
	return window->unit == bound->unit && window->length == bound->length &&
		   window->max <= bound->max && counts_all(window->models, bound->models) &&
		   counts_all(window->endpoints, bound->endpoints);
}

/* Is there a window that lets pass no more than the bound? */
static bool
has_window_within(const RateLimits *limits, const WindowLimit *bound)
{
	for (int i = 0; i < limits->nwindows; i++)
	{
		if (window_within(&limits->windows[i], bound))
			return true;
	}
	return false;
}

static bool
rate_limits_within(Jsonb *document, Jsonb *bound_document)
{
	RateLimits *limits = rate_limits_parse(document, CurrentMemoryContext);
	RateLimits *bound = rate_limits_parse(bound_document, CurrentMemoryContext);

	if (bound == NULL)
		return true;
	if (limits == NULL || !number_within(limits->max_concurrent, bound->max_concurrent))
		return false;

	for (int i = 0; i < bound->nwindows; i++)
	{
		if (!has_window_within(limits, &bound->windows[i]))
			return false;
	}
	return true;
}

/* Is each network in one of the others? */
static bool
networks_within(ArrayType *ips, ArrayType *bound)
{
	Datum	   *networks;
	Datum	   *bounds;
	int			n;
	int			nbounds;

	deconstruct_array(ips, INETOID, -1, false, TYPALIGN_INT, &networks, NULL, &n);
	deconstruct_array(bound, INETOID, -1, false, TYPALIGN_INT, &bounds, NULL, &nbounds);
	for (int i = 0; i < n; i++)
	{
		inet_struct network;
		bool		covered = false;

		ip_network_from_inet(DatumGetInetPP(networks[i]), &network);
		for (int j = 0; j < nbounds && !covered; j++)
		{
			inet_struct other;

			ip_network_from_inet(DatumGetInetPP(bounds[j]), &other);
			covered = ip_network_covers(&other, &network);
		}
		if (!covered)
			return false;
	}
	return true;
}

/* Returns when a key expires; DT_NOEND: never. */
static TimestampTz
expires_at(const KeyConfig *config)
{
	return config->nulls[CONFIG_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(config->values[CONFIG_EXPIRES_AT]);
}

/* Is the value of a member within that of the bound?  Nulls allow all. */
static bool
member_within(ConfigMember member, const KeyConfig *config, const KeyConfig *bound)
{
	Datum		value = config->values[member];
	Datum		bound_value = bound->values[member];

	if (member == CONFIG_EXPIRES_AT)
		return expires_at(config) <= expires_at(bound);
	if (bound->nulls[member] || config->nulls[member])
		return bound->nulls[member];

	switch (member)
	{
		case CONFIG_PERMISSIONS:
			return permissions_within(DatumGetJsonbP(value), DatumGetJsonbP(bound_value));
		case CONFIG_RATE_LIMITS:
			return rate_limits_within(DatumGetJsonbP(value), DatumGetJsonbP(bound_value));
		case CONFIG_ALLOWED_IPS:
			return networks_within(DatumGetArrayTypeP(value), DatumGetArrayTypeP(bound_value));
		case CONFIG_IDLE_TIMEOUT:
			return DatumGetBool(DirectFunctionCall2(interval_le, value, bound_value));
		default:
			Assert(false);
			return false;
	}
}

/* Have two configurations the same value of a member, or both none? */
static bool
member_same(ConfigMember member, const KeyConfig *config, const KeyConfig *bound)
{
	if (bound->nulls[member] || config->nulls[member])
		return bound->nulls[member] && config->nulls[member];

	return datum_image_eq(config->values[member], bound->values[member], false,
						  key_config_member_type(member) == UUIDOID ? UUID_LEN : -1);
}

/*
 * Returns the name of a member by which a configuration exceeds a bound; NULL if
 * it is within.  Whom a key belongs to and where it spends is the same, and so is
 * its plan, whose later changes hold for both.  What merely describes a key is
 * not compared.
 */
const char *
within_find_excess(const KeyConfig *config, const KeyConfig *bound)
{
	static const ConfigMember same[] = {
		CONFIG_USER_ID, CONFIG_TEAM_ID, CONFIG_BUDGET_ID, CONFIG_EXTERNAL_ID, CONFIG_PLAN
	};
	static const ConfigMember limited[] = {
		CONFIG_PERMISSIONS, CONFIG_RATE_LIMITS, CONFIG_EXPIRES_AT, CONFIG_ALLOWED_IPS,
		CONFIG_IDLE_TIMEOUT
	};

	for (size_t i = 0; i < lengthof(same); i++)
	{
		if (!member_same(same[i], config, bound))
			return key_config_member_name(same[i]);
	}
	for (size_t i = 0; i < lengthof(limited); i++)
	{
		if (!member_within(limited[i], config, bound))
			return key_config_member_name(limited[i]);
	}
	return NULL;
}

/* apikeys_data.permissions_within(permissions jsonb, bound jsonb): boolean */
Datum
apikeys_permissions_within(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(permissions_within(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1)));
}

/*
 * apikeys_data.common_permissions(permissions jsonb, bound jsonb): jsonb.  The
 * first as it is, if it is within the second.
 */
Datum
apikeys_common_permissions(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = PG_GETARG_JSONB_P(0);
	Jsonb	   *bound_document = PG_GETARG_JSONB_P(1);
	Permissions permissions;
	Permissions bound;
	Permissions common;

	if (permissions_within(document, bound_document))
		PG_RETURN_JSONB_P(document);

	permissions_parse(document, &permissions);
	permissions_parse(bound_document, &bound);
	if (!find_common(&permissions, &bound, &common))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(make_document(&common));
}

/* apikeys_data.rate_limits_within(rate_limits jsonb, bound jsonb): boolean */
Datum
apikeys_rate_limits_within(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(rate_limits_within(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1)));
}
