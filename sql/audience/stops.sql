-- The records that end a consent, or that say that an address is invalid.
-- Inputs: door_records. Grain: one row a landed customer of whom there is something to say.
SELECT email_key, phone_key, email_status, sms_status, email_ended_at, sms_consent_at, ads_consent FROM door_records
WHERE email_status IN ('unsubscribed', 'invalid') OR sms_status IN ('unsubscribed', 'invalid') OR ads_consent = 'denied'
