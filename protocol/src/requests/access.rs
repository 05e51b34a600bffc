//! Users and rights: codes 3001 to 3010. Bodies: [`crate::bodies::UserInfo`], [`crate::bodies::AclInfo`].

use std::borrow::Cow;

use super::field::header_fields;

macro_rules! by_one {
    ($($(#[$meta:meta])* $name:ident($code:ident): $field:ident = $wire:literal;)*) => {$(
        header_fields! {
            request $code;
            $(#[$meta])*
            pub struct $name<'a> {
                /// Who, or which of them.
                pub $field: Option<Cow<'a, str>> = $wire,
            }
        }
    )*};
}

by_one! {
    /// Creates a user.
    AuthCreateUser(AuthCreateUser): username = "username";
    /// Changes a user.
    AuthUpdateUser(AuthUpdateUser): username = "username";
    /// Deletes a user.
    AuthDeleteUser(AuthDeleteUser): username = "username";
    /// Asks for a user.
    AuthGetUser(AuthGetUser): username = "username";
    /// Asks for all users.
    AuthListUser(AuthListUser): filter = "filter";
    /// Gives rights.
    AuthCreateAcl(AuthCreateAcl): subject = "subject";
    /// Changes rights.
    AuthUpdateAcl(AuthUpdateAcl): subject = "subject";
    /// Asks for rights.
    AuthGetAcl(AuthGetAcl): subject = "subject";
}

header_fields! {
    request AuthDeleteAcl;
    /// Takes rights.
    pub struct AuthDeleteAcl<'a> {
        /// Whose.
        pub subject: Option<Cow<'a, str>> = "subject",
        /// Of this kind.
        pub policy_type: Option<Cow<'a, str>> = "policyType",
        /// To this resource.
        pub resource: Option<Cow<'a, str>> = "resource",
    }
}

header_fields! {
    request AuthListAcl;
    /// Asks for all rights.
    pub struct AuthListAcl<'a> {
        /// Of subjects with this text.
        pub subject_filter: Option<Cow<'a, str>> = "subjectFilter",
        /// To resources with this text.
        pub resource_filter: Option<Cow<'a, str>> = "resourceFilter",
    }
}
