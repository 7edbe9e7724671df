-- Contacts of Mailchimp: the CSV files of an audience's export (subscribed, unsubscribed, cleaned), whose columns
-- https://mailchimp.com/help/view-export-contacts/ names. Which file a contact is in tells its consent: only the unsubscribed have
-- UNSUB_TIME, only the cleaned have CLEAN_TIME. Times are UTC. EUID is the contact's id.
-- Requires: Email Address, EUID
-- Reads: First Name, Last Name, Phone Number, Address, Birthday, OPTIN_TIME, CONFIRM_TIME, LAST_CHANGED, UNSUB_TIME, UNSUB_REASON,
--   CLEAN_TIME, CC, REGION, LATITUDE, LONGITUDE, TAGS
-- Ignores: MEMBER_RATING, OPTIN_IP, CONFIRM_IP, GMTOFF, DSTOFF, TIMEZONE, LEID, NOTES, UNSUB*, CLEAN*
SELECT "EUID" AS customer_id, coalesce("OPTIN_TIME", "CONFIRM_TIME") || 'Z' AS created_at, "LAST_CHANGED" || 'Z' AS updated_at,
       "Email Address" AS email, "First Name" AS first_name, "Last Name" AS last_name, "Phone Number" AS phone, "Address" AS address,
       "CC" AS country, "REGION" AS region, "LATITUDE" AS latitude, "LONGITUDE" AS longitude,
       CASE WHEN "UNSUB_TIME" IS NOT NULL THEN 'unsubscribed' ELSE 'subscribed' END AS email_consent,
       coalesce("UNSUB_TIME", "CONFIRM_TIME", "OPTIN_TIME") || 'Z' AS email_consent_at,
       coalesce("CONFIRM_TIME", "OPTIN_TIME") || 'Z' AS email_subscribed_at,
       CASE WHEN "CLEAN_TIME" IS NOT NULL THEN 'false' END AS email_valid, replace("TAGS", '"', '') AS tags /*properties*/
FROM raw
ORDER BY customer_id, _file, _row
