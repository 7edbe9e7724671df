-- Customers of Shopify's customer export (Admin, Customers, Export, plain CSV), whose columns
-- https://help.shopify.com/en/manual/customers/import-export-customers lists. Postcodes and phones begin with a quote, which
-- keeps spreadsheets from reading them as numbers.
-- Requires: Customer ID, First Name, Last Name, Email
-- Reads: Accepts Email Marketing, Accepts SMS Marketing, Phone, Default Address Phone, Default Address Address1,
--   Default Address Address2, Default Address City, Default Address Province Code, Default Address Country Code,
--   Default Address Zip, Tags
-- Ignores: Total Spent, Total Orders, Note, Tax Exempt, Default Address Company
SELECT ltrim("Customer ID", '''') AS customer_id, "First Name" AS first_name, "Last Name" AS last_name, "Email" AS email,
       ltrim(coalesce("Phone", "Default Address Phone"), '''') AS phone,
       concat_ws(', ', "Default Address Address1", "Default Address Address2") AS address,
       "Default Address City" AS city, "Default Address Province Code" AS region, "Default Address Country Code" AS country,
       ltrim("Default Address Zip", '''') AS postal_code,
       CASE lower("Accepts Email Marketing") WHEN 'yes' THEN 'subscribed' WHEN 'no' THEN 'never' END AS email_consent,
       CASE lower("Accepts SMS Marketing") WHEN 'yes' THEN 'subscribed' WHEN 'no' THEN 'never' END AS sms_consent,
       "Tags" AS tags /*properties*/
FROM raw
ORDER BY customer_id, _file, _row
