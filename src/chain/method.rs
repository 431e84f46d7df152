//! The JSON-RPC methods that are ever called, as a closed list: what an endpoint is good for is known for each of them.

/// A JSON-RPC method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    AccountSignTransaction,
    BlockByHash,
    BlockByNumber,
    Call,
    ChainId,
    ClientVersion,
    EstimateGas,
    FeeHistory,
    GasPrice,
    GetBalance,
    GetCode,
    GetLogs,
    MaxPriorityFee,
    NetVersion,
    SendRawTransaction,
    SignTransaction,
    TransactionCount,
    TransactionReceipt,
}

impl Method {
    pub const ALL: [Method; 18] = [
        Method::AccountSignTransaction,
        Method::BlockByHash,
        Method::BlockByNumber,
        Method::Call,
        Method::ChainId,
        Method::ClientVersion,
        Method::EstimateGas,
        Method::FeeHistory,
        Method::GasPrice,
        Method::GetBalance,
        Method::GetCode,
        Method::GetLogs,
        Method::MaxPriorityFee,
        Method::NetVersion,
        Method::SendRawTransaction,
        Method::SignTransaction,
        Method::TransactionCount,
        Method::TransactionReceipt,
    ];

    /// The name that goes over the wire.
    pub fn name(self) -> &'static str {
        match self {
            Method::AccountSignTransaction => "account_signTransaction",
            Method::BlockByHash => "eth_getBlockByHash",
            Method::BlockByNumber => "eth_getBlockByNumber",
            Method::Call => "eth_call",
            Method::ChainId => "eth_chainId",
            Method::ClientVersion => "web3_clientVersion",
            Method::EstimateGas => "eth_estimateGas",
            Method::FeeHistory => "eth_feeHistory",
            Method::GasPrice => "eth_gasPrice",
            Method::GetBalance => "eth_getBalance",
            Method::GetCode => "eth_getCode",
            Method::GetLogs => "eth_getLogs",
            Method::MaxPriorityFee => "eth_maxPriorityFeePerGas",
            Method::NetVersion => "net_version",
            Method::SendRawTransaction => "eth_sendRawTransaction",
            Method::SignTransaction => "eth_signTransaction",
            Method::TransactionCount => "eth_getTransactionCount",
            Method::TransactionReceipt => "eth_getTransactionReceipt",
        }
    }

    /// True where the node runs the contract to answer, so that the contract itself can say no.
    pub(crate) fn runs_code(self) -> bool {
        // Nodes that mine at once run what they are sent before they answer.
        matches!(
            self,
            Method::Call | Method::EstimateGas | Method::SendRawTransaction
        )
    }
}
