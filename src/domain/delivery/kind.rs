//! The purpose of a delivery.

/// The purpose of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryKind {
    /// Part of a Notify.
    #[default]
    Normal,
    /// A test message: the person's preference does not hold it back.
    Test,
    /// A test message that an administrator asked for: the tenant's switch does not hold it back
    /// either.
    AdministratorTest,
}

impl DeliveryKind {
    pub const ALL: &'static [Self] = &[Self::Normal, Self::Test, Self::AdministratorTest];

    /// The code in the store.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Test => "test",
            Self::AdministratorTest => "administrator_test",
        }
    }

    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "normal" => Some(Self::Normal),
            "test" => Some(Self::Test),
            "administrator_test" => Some(Self::AdministratorTest),
            _ => None,
        }
    }
}
