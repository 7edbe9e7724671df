-- Customers of Volusion's standard export (Inventory, Import/Export, Customers), whose columns
-- https://helpcenter.volusion.com/en/articles/customers-import-export names.
-- Requires: customerid, emailaddress
-- Reads: firstname, lastname, phonenumber, billingaddress1, billingaddress2, city, state, postalcode, country, emailsubscriber,
--   firstdatevisited, lastmodified
-- Ignores: accesskey, companyname, faxnumber, password*, paysstatetax, taxid, websiteaddress, discountlevel, customer_type,
--   lastmodby, customer_isanonymous, id_customers_groups, issuperadmin, news1, news2, news3, news4, news5, checkbox*, custom_field*,
--   removed_from_rewards, rewards*, affiliate*, allow_access*, catalogsubscriber, percentdiscount
SELECT customerid AS customer_id, any_time(firstdatevisited) AS created_at, any_time(lastmodified) AS updated_at,
       emailaddress AS email, firstname AS first_name, lastname AS last_name, phonenumber AS phone,
       nullif(concat_ws(', ', billingaddress1, billingaddress2), '') AS address, city, state AS region, postalcode AS postal_code,
       country, CASE lower(emailsubscriber) WHEN 'y' THEN 'subscribed' WHEN 'n' THEN 'never' END AS email_consent /*properties*/
FROM raw
ORDER BY customer_id, _file, _row
