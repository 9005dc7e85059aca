-- One-time codes. A code is pending until the provider has taken it, then live; a new live one kills the old.

CREATE TABLE otp_codes (
    id         uuid PRIMARY KEY,
    phone_hash bytea NOT NULL CHECK (length(phone_hash) = 32),
    purpose    text NOT NULL CHECK (purpose IN ('login')),
    is_live    boolean NOT NULL DEFAULT false,
    code_mac   bytea NOT NULL CHECK (length(code_mac) = 32),
    code_key   text NOT NULL,     -- id of the pepper
    may_create boolean NOT NULL,  -- the request allowed a new account
    attempts   integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX otp_codes_one_live ON otp_codes (phone_hash, purpose) WHERE is_live;
CREATE INDEX otp_codes_expiry ON otp_codes (expires_at);

-- What is counted a number, whatever codes come and go. Failures count within a window that begins with the first.
CREATE TABLE otp_numbers (
    phone_hash   bytea NOT NULL CHECK (length(phone_hash) = 32),
    purpose      text NOT NULL,
    last_sent_at timestamptz,
    window_began timestamptz NOT NULL DEFAULT now(),
    failures     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (phone_hash, purpose)
);
CREATE INDEX otp_numbers_age ON otp_numbers (greatest(window_began, last_sent_at));

GRANT SELECT, INSERT, UPDATE, DELETE ON otp_codes, otp_numbers TO tidegate_app;
