-- Invites: codes that the sign-up policy may ask for (condition `invite`, `campaign`). Only the keyed hash of a code
-- stands here; whoever made it was shown the code once.

-- How many accounts an inviter may bring in, over all their invites. Nobody is here but who has a quota.
CREATE TABLE inviters (
    inviter    text PRIMARY KEY CHECK (inviter <> ''),
    quota      bigint NOT NULL CHECK (quota >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE invites (
    id         uuid PRIMARY KEY,
    code_hash  bytea NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    code_key   text NOT NULL,            -- id of the look-up key the hash was made with
    hint       text NOT NULL,            -- the code's last characters: operators tell invites apart by them
    campaign   text NOT NULL DEFAULT '',
    inviter    text NOT NULL DEFAULT '', -- whom it is charged to; '': the operators, who have no quota
    max_uses   bigint NOT NULL CHECK (max_uses > 0),
    uses       bigint NOT NULL DEFAULT 0 CHECK (uses BETWEEN 0 AND max_uses),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,              -- NULL: never
    revoked_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX invites_created ON invites (created_at);
CREATE INDEX invites_campaign ON invites (campaign, created_at);
CREATE INDEX invites_inviter ON invites (inviter) WHERE inviter <> '';
GRANT SELECT ON invites, inviters TO tidegate_app;

-- A code remembers which invite came with its request, an account which one let it in.
ALTER TABLE otp_codes ADD COLUMN invite_id uuid;
ALTER TABLE users ADD COLUMN invite_id uuid REFERENCES invites (id);

-- Makes one invite for each item of the lists (comma separated: ids, hashes in hexadecimal, hints), all alike but for
-- that. p_quota NULL: the inviter's quota stays; an inviter without one gets p_default_quota. TG003: more than the quota.
CREATE FUNCTION invite_create(p_ids text, p_hashes text, p_hints text, p_key text, p_campaign text, p_inviter text,
                              p_quota bigint, p_default_quota bigint, p_max_uses bigint, p_ttl interval,
                              p_actor text, p_reason text, p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    n bigint;
    allowed bigint;
    given bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'invites want an actor and a reason' USING ERRCODE = '22023';
    END IF;
    n := array_length(string_to_array(p_ids, ','), 1);
    IF p_inviter <> '' THEN -- the row's lock makes others who give invites to the same inviter wait
        INSERT INTO inviters AS i (inviter, quota) VALUES (p_inviter, coalesce(p_quota, p_default_quota))
            ON CONFLICT (inviter) DO UPDATE SET quota = coalesce(p_quota, i.quota), updated_at = now()
            RETURNING i.quota INTO allowed;
        SELECT coalesce(sum(CASE WHEN v.revoked_at IS NULL THEN v.max_uses ELSE v.uses END), 0) INTO given
            FROM invites v WHERE v.inviter = p_inviter;
        IF given + n * p_max_uses > allowed THEN
            RAISE EXCEPTION 'invite_quota: % has % of %, and % more were asked for', p_inviter, given, allowed,
                n * p_max_uses USING ERRCODE = 'TG003';
        END IF;
    END IF;
    INSERT INTO invites (id, code_hash, code_key, hint, campaign, inviter, max_uses, created_by, expires_at)
        SELECT x.id::uuid, decode(x.hash, 'hex'), p_key, x.hint, p_campaign, p_inviter, p_max_uses, p_actor, now() + p_ttl
        FROM unnest(string_to_array(p_ids, ','), string_to_array(p_hashes, ','), string_to_array(p_hints, ','))
            AS x (id, hash, hint);
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'invite.create', CASE WHEN n = 1 THEN 'invite/' || p_ids ELSE 'invites' END, p_reason,
                coalesce(p_request_id, ''),
                jsonb_build_object('count', n, 'uses', p_max_uses, 'campaign', p_campaign, 'inviter', p_inviter));
    RETURN n;
END
$$;
GRANT EXECUTE ON FUNCTION invite_create(text, text, text, text, text, text, bigint, bigint, bigint, interval, text,
                                        text, text) TO tidegate_app;

-- One invite (p_id), or all of a campaign. Accounts that came by them stay. Returns how many had not been revoked.
CREATE FUNCTION invite_revoke(p_id uuid, p_campaign text, p_actor text, p_reason text, p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    n bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' OR (p_id IS NULL) = (p_campaign IS NULL) THEN
        RAISE EXCEPTION 'a revocation wants an invite or a campaign, an actor and a reason' USING ERRCODE = '22023';
    END IF;
    UPDATE invites SET revoked_at = clock_timestamp()
        WHERE revoked_at IS NULL AND CASE WHEN p_id IS NULL THEN campaign = p_campaign ELSE id = p_id END;
    GET DIAGNOSTICS n = ROW_COUNT;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'invite.revoke', coalesce('invite/' || p_id, 'campaign/' || p_campaign), p_reason,
                coalesce(p_request_id, ''), jsonb_build_object('revoked', n));
    RETURN n;
END
$$;
GRANT EXECUTE ON FUNCTION invite_revoke(uuid, text, text, text, text) TO tidegate_app;

-- The only INSERT into users, now with the invite that the decision counted on (NULL: none). The invite is counted in
-- the same transaction; when it has run out since it was looked at: invite_spent (TG003), decide again without it.
CREATE FUNCTION auth_create_user(p_policy bigint, p_rule text, p_method text, p_country text, p_user uuid,
                                 p_identity uuid, p_subject_hash bytea, p_subject_key text,
                                 p_subject_enc bytea, p_invite uuid)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
BEGIN
    SELECT c.version INTO STRICT current FROM policy_current c FOR SHARE;
    IF p_policy IS DISTINCT FROM current THEN
        RAISE EXCEPTION 'policy_stale: version % is in force, not %', current, p_policy USING ERRCODE = 'TG001';
    END IF;
    IF p_invite IS NOT NULL THEN
        UPDATE invites SET uses = uses + 1
            WHERE id = p_invite AND uses < max_uses AND revoked_at IS NULL
              AND (expires_at IS NULL OR expires_at > clock_timestamp());
        IF NOT FOUND THEN
            RAISE EXCEPTION 'invite_spent: % lets nobody in any more', p_invite USING ERRCODE = 'TG003';
        END IF;
    END IF;
    INSERT INTO users (id, policy_version, policy_rule, signup_method, signup_country, invite_id)
        VALUES (p_user, p_policy, p_rule, p_method, p_country, p_invite);
    INSERT INTO identities (id, user_id, provider, subject_hash, subject_key, subject_enc)
        VALUES (p_identity, p_user, p_method, p_subject_hash, p_subject_key, p_subject_enc);
END
$$;
GRANT EXECUTE ON FUNCTION auth_create_user(bigint, text, text, text, uuid, uuid, bytea, text, bytea, uuid)
    TO tidegate_app;

-- Gateways of before invites call this one.
CREATE OR REPLACE FUNCTION auth_create_user(p_policy bigint, p_rule text, p_method text, p_country text, p_user uuid,
                                            p_identity uuid, p_subject_hash bytea, p_subject_key text,
                                            p_subject_enc bytea)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT auth_create_user(p_policy, p_rule, p_method, p_country, p_user, p_identity, p_subject_hash, p_subject_key,
                            p_subject_enc, NULL)
$$;
